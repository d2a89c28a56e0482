#!/bin/sh
# Certificates for tests of TLS, good until 2126: an authority, a server (127.0.0.1 and api.example.com) and a client that it knows.
# A file has a certificate and its key. Nothing real trusts this authority, and its own key is thrown away.
set -eu
cd "$(dirname "$0")"
trap 'rm -f ./*.key ./*.csr ./*.srl ./*.ext' EXIT
new() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
new ca
openssl req -x509 -new -key ca.key -days 36500 -subj "/CN=test authority" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -out ca.pem
for name in server client; do
  new "$name"
  openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
  echo "subjectAltName=IP:127.0.0.1,DNS:api.example.com" >"$name.ext"
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 36499 -extfile "$name.ext" -out "$name.pem"
  cat "$name.key" >>"$name.pem"
done
