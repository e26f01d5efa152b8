#!/bin/sh
# Makes the root file system that takes the place of the image's base where no registry can be reached: what a program
# finds in distroless/cc, taken from this machine. Needs glibc 2.34 or later, which looks up names without a library more.
#
#   .ci/image-root.sh PROGRAM FOLDER
set -eu
umask 022
program=$1
root=$2

rm -rf "$root"
mkdir -p "$root/etc/ssl/certs" "$root/home/nonroot" "$root/tmp"
chmod 1777 "$root/tmp"

# The loader and the libraries, at the paths where the loader looks for them. cp follows links.
ldd "$program" | grep -o '/[^ ]*' | sort -u | while read -r library; do
	mkdir -p "$root$(dirname "$library")"
	cp "$library" "$root$library"
done

# The certificates that a token endpoint's certificate is checked against, in the first place where the operator looks.
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	if [ -s "$bundle" ]; then
		cp "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
		break
	fi
done
if ! [ -s "$root/etc/ssl/certs/ca-certificates.crt" ]; then
	echo "no CA certificates on this machine: install the package ca-certificates" >&2
	exit 1
fi

cat >"$root/etc/passwd" <<'EOF'
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
EOF
cat >"$root/etc/group" <<'EOF'
root:x:0:
nobody:x:65534:
nonroot:x:65532:
EOF
# Without it glibc asks the DNS before it looks into /etc/hosts, where a pod's hostAliases are.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
