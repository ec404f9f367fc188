#!/usr/bin/env bash
# A kind node image for machines that reach package registries but no image registry: Kubernetes, etcd and CoreDNS from
# their Go modules, everything else from Debian's packages. kind needs no flag but --image for it.
#
#   build.sh        builds what is not there yet; prints the image's name and the path of `kind`, a line each
#
# Needs root, Go, gcc and a Docker Engine (fixtures/docker/start.sh). About 17 minutes on 2 cores at first, seconds later:
# each step's outcome is kept in $MOUNTPROOF_CACHE (default ~/.cache/mountproof), named by what it is made of. Where kind's own
# images can be pulled, use those instead.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${MOUNTPROOF_CACHE:-$HOME/.cache/mountproof}
kubernetes=$(sed -n 's/^\tk8s.io\/kubernetes //p' "$here/../programs/go.mod")
coredns=$(sed -n 's/^require github.com\/coredns\/coredns //p' "$here/coredns/go.mod")
# As `kubeadm config images list` names them for this version; kubeadm asks for no other.
etcd=3.6.8-0
pause=3.10.2
kind=v0.33.0
tree_packages=systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,iptables,nftables,iproute2,conntrack,ethtool,socat,kmod,mount,util-linux,procps,jq,tar,gzip,hostname,openssl,ca-certificates,curl
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

say() { printf 'node image: %s\n' "$*" >&2; }
key() { sha256sum | cut -c1-16; }
go() { "$(type -P go || echo /usr/local/go/bin/go)" "$@"; }

# Everything is made aside and moved: what has its name is whole.
making=$(mktemp -d)
containerd=
ended() {
  [ -z "$containerd" ] || { kill "$containerd" && wait "$containerd"; } 2>/dev/null || true
  rm -rf "$making"
}
trap ended EXIT

host_packages() {
  local wanted missing=()
  for wanted in debootstrap containerd runc jq gcc libc6-dev; do
    dpkg -s "$wanted" >/dev/null 2>&1 || missing+=("$wanted")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >"$making/apt.log" 2>&1 ||
    { tail -n 20 "$making/apt.log" >&2; exit 1; }
}

# kubeadm, kubelet, kubectl, the control plane, etcd, CoreDNS, pause and kind; sets $programs.
programs() {
  local kubernetes_programs
  kubernetes_programs=$("$here/../programs/build.sh" kubeadm kubectl kubelet kube-apiserver kube-controller-manager \
    kube-scheduler kube-proxy etcd | tail -n 1)
  programs=$cache/node-programs-$(cat "$here"/coredns/* "$kubernetes_programs/made-of" <(echo "$pause $kind") | key)
  [ ! -d "$programs" ] || return 0
  local made=$making/programs
  mkdir -p "$made"
  export GOTOOLCHAIN=local CGO_ENABLED=0
  say "building CoreDNS $coredns"
  (cd "$here/coredns" && GOFLAGS="-mod=readonly -buildvcs=false" go build -ldflags "-s -w" -o "$made/coredns" github.com/coredns/coredns)
  say "building kind $kind"
  GOBIN=$made GOFLAGS=-mod=mod go install "sigs.k8s.io/kind@$kind"
  local sources
  sources=$(cd "$here/../programs" && GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' k8s.io/kubernetes)
  gcc -Os -static -s -DVERSION="v$pause-mountproof" -o "$made/pause" "$sources/build/pause/linux/pause.c"
  cp -l "$kubernetes_programs"/* "$made/" 2>/dev/null || cp "$kubernetes_programs"/* "$made/"
  mv "$made" "$programs"
}

# The node's file system, of Debian's packages alone; sets $tree.
tree() {
  tree=$cache/node-tree-$(key <<<"$tree_packages")
  [ ! -d "$tree" ] || return 0
  say "making the node's tree of Debian's packages"
  debootstrap --variant=minbase --include=$tree_packages bookworm "$making/tree" >"$making/debootstrap.log" ||
    { tail -n 20 "$making/debootstrap.log" >&2; exit 1; }
  mv "$making/tree" "$tree"
}

# An image of one static program: component IMAGE PROGRAM [docker import options..]
component() {
  local image=$1 program=$2 root=$making/component
  shift 2
  mkdir -p "$root"/{usr/local/bin,tmp,etc}
  chmod 1777 "$root/tmp"
  cp "$programs/$program" "$root/usr/local/bin/"
  echo 'root:x:0:0:root:/:/sbin/nologin' >"$root/etc/passwd"
  tar -C "$root" --owner=0 --group=0 -c . | docker import --change "ENV PATH=$path" "$@" - "$image" >/dev/null
  rm -r "$root"
}

# kube-proxy beside iptables, nft and conntrack and their libraries, which the node's tree has.
kube_proxy() {
  local root=$making/kube-proxy libraries=usr/lib/x86_64-linux-gnu folder program library
  mkdir -p "$root"/usr/{local/bin,bin,sbin,lib,lib64} "$root"/{tmp,etc,run} "$root/$libraries/xtables"
  for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
  cp "$programs/kube-proxy" "$root/usr/local/bin/"
  cp "$tree/$libraries"/xtables/*.so "$root/$libraries/xtables/"
  local found=(/usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack /bin/kmod)
  for program in "${found[@]}"; do cp "$tree$program" "$root$program"; done
  for program in "${found[@]}" $(cd "$tree" && printf '/%s\n' $libraries/xtables/*.so); do
    for library in $(chroot "$tree" ldd "$program" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
      mkdir -p "$root$(dirname "$library")"
      [ -e "$root$library" ] || cp -L "$tree$library" "$root$library"
    done
  done
  for program in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore iptables-nft; do
    ln -s xtables-nft-multi "$root/usr/sbin/$program"
  done
  ln -s kmod "$root/usr/bin/modprobe"
  # It starts: every library is there.
  chroot "$root" /usr/sbin/iptables --version >/dev/null
  tar -C "$root" --owner=0 --group=0 -c . | docker import --change "ENV PATH=$path" - "$1" >/dev/null
  rm -r "$root"
}

# The images that a control plane and its nodes run, in one archive; sets $images.
components() {
  images=$cache/node-images-$(cat <(echo "$programs" "$tree" "$etcd" "$pause") "$0" | key).tar
  [ ! -e "$images" ] || return 0
  say "making the control plane's images"
  local registry=registry.k8s.io
  local names=(
    $registry/kube-apiserver:$kubernetes $registry/kube-controller-manager:$kubernetes $registry/kube-scheduler:$kubernetes
    $registry/etcd:$etcd $registry/pause:$pause $registry/coredns/coredns:$coredns $registry/kube-proxy:$kubernetes
  )
  component "${names[0]}" kube-apiserver
  component "${names[1]}" kube-controller-manager
  component "${names[2]}" kube-scheduler
  component "${names[3]}" etcd
  component "${names[4]}" pause --change 'ENTRYPOINT ["/usr/local/bin/pause"]' --change 'USER 65535:65535'
  component "${names[5]}" coredns --change 'ENTRYPOINT ["/usr/local/bin/coredns"]'
  kube_proxy "${names[6]}"
  docker save -o "$making/images.tar" "${names[@]}"
  # Only the archive is wanted: of these names Docker should have what their registry has.
  docker image rm "${names[@]}" >/dev/null
  mv "$making/images.tar" "$images"
}

# Puts the images into the tree's containerd, as `kind` expects of a node image: one of the host works on the tree itself.
preload() {
  local root=$1 state=$making/containerd blob
  mkdir -p "$state"
  cat >"$state/config.toml" <<EOF
version = 2
root = "$root/var/lib/containerd"
state = "$state/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$state/socket"
EOF
  containerd -c "$state/config.toml" >"$state/log" 2>&1 &
  containerd=$!
  local ctr=(ctr -a "$state/socket" -n k8s.io)
  for _ in $(seq 50); do "${ctr[@]}" version >/dev/null 2>&1 && break; sleep 0.2; done
  "${ctr[@]}" images import --snapshotter overlayfs "$images" >/dev/null || { tail "$state/log" >&2; exit 1; }
  "${ctr[@]}" images ls -q | { grep '^import-' || true; } | xargs -r "${ctr[@]}" images rm >/dev/null
  # Layers are unpacked: their blobs would only make the image larger. A removal with --sync waits for the collection.
  local blobs=$root/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256
  for blob in $(find "$blobs" -type f -size +64k -printf '%f\n'); do "${ctr[@]}" content rm "sha256:$blob" >/dev/null; done
  "${ctr[@]}" images tag "registry.k8s.io/pause:$pause" localhost/collect:now >/dev/null
  "${ctr[@]}" images rm --sync localhost/collect:now >/dev/null
  kill "$containerd"
  wait "$containerd" || true
  containerd=
}

# systemd boots to our three units and the journal, which `kind export logs` reads, and to nothing else.
units() {
  local shipped=$1/usr/lib/systemd/system ours=$1/etc/systemd/system unit
  rm -f "$shipped/containerd.service" "$ours"/*.wants/*
  rm -f "$shipped"/{sysinit,multi-user,sockets,local-fs,basic,timers,graphical}.target.wants/*
  install -m644 "$here"/files/{containerd,kubelet,pod-network}.service "$ours/"
  ln -sf /lib/systemd/system/multi-user.target "$ours/default.target"
  mkdir -p "$ours/multi-user.target.wants" "$shipped"/{sysinit,sockets}.target.wants
  for unit in containerd kubelet pod-network; do ln -s "../$unit.service" "$ours/multi-user.target.wants/"; done
  ln -s ../systemd-journald.service "$shipped/sysinit.target.wants/"
  ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket "$shipped/sockets.target.wants/"
  ln -sf /usr/lib/systemd/systemd "$1/sbin/init"
}

# The image itself; sets $image.
node() {
  image=localhost/mountproof-node:$kubernetes-$(cat <(echo "$images") "$here"/files/* "$0" | key)
  docker image inspect "$image" >/dev/null 2>&1 && return
  say "making the node image"
  local root=$making/node files=$here/files
  cp -a --reflink=auto "$tree" "$root"
  rm -rf "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*
  : >"$root/etc/machine-id"
  mkdir -p "$root"/kind/manifests "$root"/etc/kubernetes/{manifests,kubelet.conf.d} "$root"/etc/{cni/net.d,containerd} "$root/opt/cni"
  ln -s /usr/lib/cni "$root/opt/cni/bin"
  install -m755 "$programs"/{kubeadm,kubelet,kubectl} "$root/usr/bin/"
  install -m755 "$files"/{crictl,pod-network,kubelet-cgroups,entrypoint} "$root/usr/local/bin/"
  install -m644 "$files/containerd.toml" "$root/etc/containerd/config.toml"
  install -m644 "$files/kubelet.conf" "$root/etc/kubernetes/kubelet.conf.d/50-node.conf"
  install -m644 "$files"/default-{storage,cni}.yaml "$root/kind/manifests/"
  # One line, by which kind chooses the form of kubeadm's configuration.
  echo "$kubernetes" >"$root/kind/version"
  units "$root"
  preload "$root"
  tar -C "$root" --numeric-owner --xattrs -c . | docker import --change "ENV container=docker PATH=$path" \
    --change 'ENTRYPOINT ["/usr/local/bin/entrypoint"]' - localhost/mountproof-node-tree:now >/dev/null
  # `docker import` cannot say it, and `docker stop` would kill a systemd that it does not ask in its own way.
  printf 'FROM localhost/mountproof-node-tree:now\nSTOPSIGNAL SIGRTMIN+3\n' | DOCKER_BUILDKIT=0 docker build -q -t "$image" - >/dev/null
  docker image rm localhost/mountproof-node-tree:now >/dev/null
}

test "$(id -u)" = 0 || { say "only root can make a file system"; exit 3; }
docker info >/dev/null 2>&1 || { say "no Docker Engine answers: fixtures/docker/start.sh starts one"; exit 3; }
mkdir -p "$cache"
host_packages
programs
tree
components
node
echo "$image"
echo "$programs/kind"
