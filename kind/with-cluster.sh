#!/usr/bin/env bash
# Runs a command beside a bare cluster of kind, which is made for it and deleted after it, whatever comes.
#
#   with-cluster.sh COMMAND..    MOUNTPROOF_CLUSTER names a folder for it: url, ca.pem, token (of somebody who may do
#                                everything, for three hours), issuer, node, kubelet (how this machine reaches the root of
#                                that node's kubelet) and image (one that every node has)
#
# MOUNTPROOF_KIND names kind where it is not in PATH, MOUNTPROOF_KIND_IMAGE the image of the nodes (kind/node-image/build.sh).
# Needs root on the machine that Docker runs on.
set -euo pipefail

test $# -gt 0 || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
kind=${MOUNTPROOF_KIND:-kind}
type -P "$kind" >/dev/null || { echo "with-cluster: $kind is not there: go install sigs.k8s.io/kind@v0.33.0, or MOUNTPROOF_KIND=PROGRAM" >&2; exit 3; }
docker info >/dev/null 2>&1 || { echo "with-cluster: no Docker Engine answers: fixtures/docker/start.sh starts one" >&2; exit 3; }
name=mountproof-beside-$$
folder=$(mktemp -d)
ended() {
  "$kind" delete cluster --name "$name" --kubeconfig "$folder/kubeconfig" >&2 || true
  rm -rf "$folder"
}
trap ended EXIT
trap 'exit 130' INT TERM

"$kind" create cluster --name "$name" ${MOUNTPROOF_KIND_IMAGE:+--image "$MOUNTPROOF_KIND_IMAGE"} \
  --kubeconfig "$folder/kubeconfig" --wait 120s >&2
node=$("$kind" get nodes --name "$name" | head -n 1)
kubectl() { docker exec -i "$node" kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"; }
kubectl create serviceaccount --namespace kube-system mountproof >&2
kubectl create clusterrolebinding mountproof --clusterrole cluster-admin --serviceaccount kube-system:mountproof >&2
(umask 077 && kubectl create token --namespace kube-system mountproof --duration 3h >"$folder/token")
kubectl get --raw /.well-known/openid-configuration | sed 's/.*"issuer":"\([^"]*\)".*/\1/' >"$folder/issuer"
sed -n 's/^ *server: //p' "$folder/kubeconfig" >"$folder/url"
sed -n 's/^ *certificate-authority-data: //p' "$folder/kubeconfig" | base64 -d >"$folder/ca.pem"
echo "$node" >"$folder/node"
echo "/proc/$(docker inspect --format '{{.State.Pid}}' "$node")/root/var/lib/kubelet" >"$folder/kubelet"
docker exec "$node" ctr --namespace k8s.io images ls --quiet | grep '/pause:' | head -n 1 >"$folder/image"
# Node Ready comes before the account that pods are made with.
for _ in $(seq 100); do
  ! kubectl get serviceaccount default >/dev/null 2>&1 || break
  sleep 0.2
done
MOUNTPROOF_CLUSTER=$folder "$@"
