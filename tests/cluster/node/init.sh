# The first process of a node, in namespaces of its own (mounts, network, process ids): its end is the end of all that the node is.
# The variables are set by machine.rs.
set -eu
trap 'exit 1' TERM

# What a node writes outside of its folder is written into it.
for place in /run /var/lib /var/log; do
  mkdir -p "$FOLDER$place"
  mount --bind "$FOLDER$place" "$place"
done

# A kubelet sets these for the whole machine, unless it finds them as it wants them.
for tunable in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  seen="$FOLDER/sys/${tunable%=*}"
  mkdir -p "${seen%/*}"
  echo "${tunable#*=}" > "$seen"
  mount --bind "$seen" "/proc/sys/${tunable%=*}"
done

# The other end of the pair is plugged into the bridge by network.rs.
until ip link show eth0 > "$FOLDER/link" 2>&1; do sleep 0.05; done
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
for route in $ROUTES; do
  ip route add "${route%=*}" via "${route#*=}"
done
echo 1 > /proc/sys/net/ipv4/ip_forward

# Ends the node with the first of them that ends.
supervised() {
  name=$1
  shift
  ("$@" > "$FOLDER/$name.log" 2>&1 || echo "$name ended: $?"; kill -TERM 1) &
}
supervised containerd containerd --config "$FOLDER/containerd.toml"
# A kubelet ends at once where nothing listens there.
until [ -S /run/containerd/containerd.sock ]; do sleep 0.05; done
supervised kubelet kubelet --config "$FOLDER/kubelet.json" --kubeconfig "$KUBELET_KUBECONFIG" --root-dir "$FOLDER/kubelet" \
  --cert-dir "$FOLDER/kubelet/pki" --hostname-override "$NAME" --node-ip "$ADDRESS"
supervised kube-proxy kube-proxy --kubeconfig "$PROXY_KUBECONFIG" --hostname-override "$NAME" --proxy-mode iptables \
  --cluster-cidr "$PODS" --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0 \
  --iptables-localhost-nodeports=false --healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249
# Waits for orphans as well, as the first process has to.
while :; do wait; sleep 1; done
