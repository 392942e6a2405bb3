#!/usr/bin/env bash
# Makes an authority, certificates and keys in all the forms that hosts have, with the openssl program.
#
#   pki.sh DIR
#
# DIR/ca-cert.pem signs what is in DIR/*.crt but for other-ca.pem; NAME.crt belongs to NAME.key, and KIND.FORM.key is the
# key KIND in another form. The password of all encrypted keys is "secret". DIR also is what QEMU wants as x509-dir.
set -euo pipefail
mkdir -p "$1"
cd "$1"
quiet() { "$@" 2>errors || { cat errors >&2; exit 1; }; }
name() { printf '/O=Cayenne/CN=%s' "$1"; }
extensions() { printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:%s\n' "$1"; }
# Signs NAME's key with the authority SIGNER.
signed() { # NAME SIGNER CA:TRUE|FALSE [ARGUMENTS...]
    quiet openssl req -new -key "$1.key" -subj "$(name "$1")" -out request
    extensions "$3" >wishes
    quiet openssl x509 -req -in request -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -sha256 \
        -extfile wishes -out "$1.crt" -days 2 "${@:4}"
}
key() { # NAME ARGUMENTS...
    quiet openssl genpkey -out "$1.key" -algorithm "${@:2}"
}

for ca in ca-cert other-ca; do
    key $ca EC -pkeyopt ec_paramgen_curve:P-256
    quiet openssl req -x509 -new -key $ca.key -subj "$(name $ca)" -days 2 -out $ca.pem
done

key rsa2048 RSA -pkeyopt rsa_keygen_bits:2048
key rsa1024 RSA -pkeyopt rsa_keygen_bits:1024
key rsa3072 RSA -pkeyopt rsa_keygen_bits:3072
key p256 EC -pkeyopt ec_paramgen_curve:P-256
key p384 EC -pkeyopt ec_paramgen_curve:P-384
key p521 EC -pkeyopt ec_paramgen_curve:P-521
key ed25519 ED25519
for name in rsa2048 rsa1024 rsa3072 p256 p384 p521 ed25519; do signed $name ca-cert FALSE; done

# An authority in between: the chain file has both.
key middle EC -pkeyopt ec_paramgen_curve:P-256
signed middle ca-cert TRUE
cp middle.crt middle.pem
cp p256.key leaf.key
signed leaf middle FALSE
cat leaf.crt middle.crt >chain.crt

# Not valid any more (if the program can say so), and of version 1, as old instructions make them.
cp p256.key expired.key
signed expired ca-cert FALSE -days -1
cp rsa2048.key old.key
quiet openssl req -new -key old.key -subj "$(name old)" -out request
quiet openssl x509 -req -in request -CA ca-cert.pem -CAkey ca-cert.key -set_serial 7 -days 2 -sha1 -out old.crt

# The same certificate as other programs write it.
quiet openssl x509 -in p256.crt -text -out text.crt
quiet openssl x509 -in p256.crt -trustout -addtrust serverAuth -out trusted.crt
sed 's/$/\r/' p256.crt >dos.crt
cat p256.crt p256.key >both.pem

# The same keys in other forms.
quiet openssl rsa -in rsa2048.key -traditional -out rsa2048.pkcs1.key
quiet openssl rsa -in rsa1024.key -traditional -out rsa1024.pkcs1.key
quiet openssl ec -in p256.key -out p256.sec1.key
{ quiet openssl ecparam -name prime256v1; cat p256.sec1.key; } >p256.parameters.key
sed 's/$/\r/' p256.sec1.key >p256.dos.key
for cipher in aes128 aes192 aes256 des3; do
    quiet openssl rsa -in rsa2048.key -traditional -$cipher -passout pass:secret -out rsa2048.traditional-$cipher.key
    quiet openssl pkcs8 -topk8 -in rsa2048.key -v2 $cipher -passout pass:secret -out rsa2048.pbes2-$cipher.key
done
quiet openssl ec -in p256.key -aes256 -passout pass:secret -out p256.traditional.key
quiet openssl pkcs8 -topk8 -in p256.key -v2 aes-256-cbc -v2prf hmacWithSHA1 -passout pass:secret -out p256.pbes2-sha1.key
quiet openssl pkcs8 -topk8 -in p256.key -scrypt -passout pass:secret -out p256.scrypt.key
quiet openssl pkcs8 -topk8 -in p256.key -v1 PBE-SHA1-3DES -passout pass:secret -out p256.pbes1.key

# What cannot be used.
head -c 300 p256.crt >half.crt
sed 's/^M/!/' p256.crt >damaged.crt
printf -- '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' >nonsense.crt
: >empty.pem

# A group of RFC 7919, so that nobody has to search for primes.
quiet openssl genpkey -genparam -algorithm DH -pkeyopt dh_param:ffdhe2048 -out dh.pem || true

# QEMU's names.
cp rsa2048.crt server-cert.pem
cp rsa2048.key server-key.pem
rm -f request wishes errors
