//! S18: what each account can do on a real API server, and what it cannot, as `kubectl auth can-i` tells it.

use crate::cluster::{ControlPlane, Kubeconfig};

/// What `kubectl auth can-i` answers.
pub(crate) async fn may(kubeconfig: &Kubeconfig, arguments: &str) -> bool {
    let words: Vec<&str> = ["auth", "can-i"].into_iter().chain(arguments.split(' ')).collect();
    let output = kubeconfig.kubectl(&words).await.unwrap();
    match output.stdout.trim() {
        "yes" => true,
        "no" => false,
        other => panic!("can-i {arguments}: {other} {}", output.stderr),
    }
}

/// What the operator's account can do on a real API server, and what it cannot.
pub(super) async fn the_account_may_do_its_work_and_nothing_else(control_plane: &ControlPlane) {
    let account = control_plane.kubeconfig_for_service_account("keywright-system", "keywright").await.unwrap();
    for yes in [
        "list oauthclients.keywright.dev -A",
        "watch protectedresources.keywright.dev -A",
        "patch oauthclients.keywright.dev --subresource=status -n shop",
        "patch protectedresources.keywright.dev --subresource=status -n shop",
        "create secrets -n shop",
        "patch secrets -n shop",
        "create configmaps -n shop",
        "create events.events.k8s.io -n shop",
        "list namespaces",
        "delete leases.coordination.k8s.io -n keywright-system",
        "list pods -n keywright-system",
    ] {
        assert!(may(&account, yes).await, "{yes}");
    }
    for no in [
        "delete secrets -n shop",
        "deletecollection secrets -n keywright-system",
        "update secrets -n shop",
        "delete configmaps -n shop",
        "patch oauthclients.keywright.dev -n shop",
        "create oauthclients.keywright.dev -n shop",
        "delete oauthclients.keywright.dev -n shop",
        "update oauthclients.keywright.dev --subresource=status -n shop",
        "patch protectedresources.keywright.dev -n shop",
        "get leases.coordination.k8s.io -n shop",
        "get pods -n shop",
        "create pods -n keywright-system",
        "create pods --subresource=exec -n keywright-system",
        "create serviceaccounts --subresource=token -n keywright-system",
        "patch deployments.apps -n shop",
        "patch namespaces",
        "create clusterrolebindings.rbac.authorization.k8s.io",
        "escalate clusterroles.rbac.authorization.k8s.io",
        "impersonate users",
        "create localsubjectaccessreviews.authorization.k8s.io -n shop",
        "create subjectaccessreviews.authorization.k8s.io",
    ] {
        assert!(!may(&account, no).await, "{no}");
    }
}

/// Who may view or edit a namespace.
pub(super) async fn tenants_get_the_kinds_but_no_status(control_plane: &ControlPlane) {
    for role in ["view", "edit", "admin"] {
        let (role_flag, user_flag) = (format!("--clusterrole={role}"), format!("--user={role}er"));
        let binding = ["create", "rolebinding", role, &role_flag, &user_flag, "--namespace=shop"];
        control_plane.kubectl(&binding).await.unwrap().succeeded().unwrap();
        let user = control_plane.kubeconfig_for_user(&format!("{role}er"), None).unwrap();
        let aggregated = async || match may(&user, "list oauthclients.keywright.dev -n shop").await {
            true => Ok(()),
            false => Err("not yet"),
        };
        crate::cluster::eventually(std::time::Duration::from_secs(30), "the role is aggregated", aggregated).await.unwrap();
        for kind in ["oauthclients.keywright.dev", "protectedresources.keywright.dev"] {
            assert!(may(&user, &format!("get {kind} -n shop")).await);
            assert_eq!(may(&user, &format!("create {kind} -n shop")).await, role != "view");
            assert_eq!(may(&user, &format!("delete {kind} -n shop")).await, role != "view");
            assert!(!may(&user, &format!("patch {kind} --subresource=status -n shop")).await);
            assert!(!may(&user, &format!("get {kind} -n other")).await);
        }
    }
}

/// Every line is `yes` or `no`, and what is asked. `$` stands for namespaces: `$shop` and `$billing` of tenants, `$own` of the release.
pub(crate) async fn assert_matrix(account: &Kubeconfig, own: &str, matrix: &str) {
    for line in matrix.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (answer, question) = line.split_once(' ').unwrap();
        assert_eq!(may(account, question.trim().replace("$own", own).as_str()).await, answer == "yes", "{line}");
    }
}
