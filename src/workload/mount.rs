//! Where the credentials are: a folder, a binding below `SERVICE_BINDING_ROOT` (Service Binding for Kubernetes, "Workload
//! Projection"), or the environment.

use super::{
    binding::{Binding, BindingError, Entries, Names},
    environment,
};
use crate::cli::TokenArgs;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// More than any entry of a Secret may have.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why no credentials could be read.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The folder itself.
    #[error("the folder {}: {source}; is the client's Secret mounted there?", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file in it.
    #[error("the file {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is none of ours.
    #[error("the file {} is longer than an entry of a Secret can be", .0.display())]
    TooLong(PathBuf),
    /// No binding to choose.
    #[error("{} holds no binding of the type oauth2 {}: name the folder of the Secret by --directory", root.display(), found(.names))]
    NoBinding {
        /// `SERVICE_BINDING_ROOT`.
        root: PathBuf,
        /// The folders that are there.
        names: Vec<String>,
    },
    /// Several to choose from.
    #[error("{} holds several bindings of the type oauth2: choose one of {} by --binding", root.display(), .names.join(", "))]
    Several {
        /// `SERVICE_BINDING_ROOT`.
        root: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// `--binding` without a root.
    #[error("--binding {0}: SERVICE_BINDING_ROOT is not set; set it, or name the folder of the Secret by --directory")]
    NoRoot(String),
    /// What was read is not enough.
    #[error("{place}: {source}")]
    Binding {
        /// Where.
        place: String,
        /// What is wrong.
        source: BindingError,
    },
    /// Nothing says where the credentials are.
    #[error(
        "no credentials: mount the client's Secret and name the folder by --directory, or set CLIENT_ID, CLIENT_SECRET and TOKEN_URL, as a Secret of the format Env does"
    )]
    Nowhere,
}

/// Where to look.
pub(super) enum Mount {
    /// In this folder.
    Folder(PathBuf),
    /// Below this root, in the folder of this name or the only one that fits.
    Root(PathBuf, Option<String>),
    /// Of the name of a binding, no root is known.
    Rootless(String),
    /// Among the variables.
    Environment,
}

impl Mount {
    /// What the flags say: `--directory`, else `SERVICE_BINDING_ROOT`, else the environment.
    pub(super) fn of(arguments: &TokenArgs) -> Self {
        let root = arguments.binding_root.clone().filter(|_| !arguments.environment);
        match (&arguments.directory, root, &arguments.binding) {
            (Some(folder), _, _) => Self::Folder(folder.clone()),
            (None, Some(root), name) => Self::Root(root, name.clone()),
            (None, None, Some(name)) => Self::Rootless(name.clone()),
            (None, None, None) => Self::Environment,
        }
    }

    /// Looks there.
    pub(super) fn read(&self, names: &Names, with_secret: bool) -> Result<Binding, MountError> {
        match self {
            Self::Folder(folder) => read_folder(folder, names, with_secret),
            Self::Root(root, Some(name)) => read_folder(&root.join(name), names, with_secret),
            Self::Root(root, None) => read_folder(&only_binding(root)?, names, with_secret),
            Self::Rootless(name) => Err(MountError::NoRoot(name.clone())),
            Self::Environment => Binding::read(&environment::variables(names.all()), names, with_secret).map_err(|source| match source {
                BindingError::Missing { present, .. } if present.is_empty() => MountError::Nowhere,
                source => MountError::Binding { place: "the environment".to_owned(), source },
            }),
        }
    }
}

fn read_folder(folder: &Path, names: &Names, with_secret: bool) -> Result<Binding, MountError> {
    let listed = file_names(folder)?;
    let mut entries = Entries::new();
    for name in names.all().into_iter().filter(|name| listed.iter().any(|found| found == name)) {
        // Gone since: the kubelet is changing the content.
        if let Some(text) = read_file(&folder.join(name))? {
            entries.insert(name.to_owned(), text);
        }
    }
    let place = || folder.display().to_string();
    Binding::read(&entries, names, with_secret)
        .map_err(|source| MountError::Binding { place: place(), source: with_all_names(source, listed) })
}

/// Also names what this command does not read: the key that was renamed is among it.
fn with_all_names(error: BindingError, listed: Vec<String>) -> BindingError {
    match error {
        BindingError::Missing { key, .. } => BindingError::Missing { key, present: listed },
        other => other,
    }
}

/// The one folder below the root with a file `type` that says `oauth2`.
fn only_binding(root: &Path) -> Result<PathBuf, MountError> {
    let mut listed = file_names(root)?;
    let is_ours = |name: &String| matches!(read_file(&root.join(name).join("type")), Ok(Some(text)) if text.trim() == "oauth2");
    let mut fitting: Vec<String> = listed.iter().filter(|name| is_ours(name)).cloned().collect();
    match (fitting.pop(), fitting.is_empty()) {
        (Some(name), true) => Ok(root.join(name)),
        (Some(name), false) => {
            fitting.push(name);
            Err(MountError::Several { root: root.to_owned(), names: fitting })
        }
        (None, _) => {
            listed.truncate(10);
            Err(MountError::NoBinding { root: root.to_owned(), names: listed })
        }
    }
}

/// Without those that begin with a dot, which are the kubelet's own.
fn file_names(folder: &Path) -> Result<Vec<String>, MountError> {
    let unreadable = |source| MountError::Folder { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        names.extend(entry.map_err(unreadable)?.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}

/// Nothing where there is no such file.
fn read_file(path: &Path) -> Result<Option<Zeroizing<String>>, MountError> {
    let unreadable = |source| MountError::File { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(MountError::TooLong(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

fn found(names: &[String]) -> String {
    if names.is_empty() { "(it is empty)".to_owned() } else { format!("(it holds {})", names.join(", ")) }
}
