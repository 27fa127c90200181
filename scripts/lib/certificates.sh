# Certificates for tests: right ones, and each kind of wrong one. Needs openssl.

# make_certificates FOLDER: fills it unless it is filled already. Keys are <name>.key, certificates <name>.pem:
#   ca, other-ca                 two authorities that know nothing of each other
#   server                       for localhost, 127.0.0.1 and ::1
#   wrong-host                   for elsewhere.example
#   expired, future              for localhost, but not now
#   self-signed                  for localhost, by nobody
#   server-of-intermediate       for localhost, by an intermediate authority whose certificate is in the same file
#   client, stranger             for users guest and nobody
#   client-of-other-ca, client-expired
#   client-encrypted.key         the client's key, encrypted with "open sesame"
make_certificates() {
  [[ ! -e $1/complete ]] || return 0
  have openssl || die "no openssl in PATH"
  mkdir -p "$1"
  (cd "$1" && issue_certificates) >"$1/log" 2>&1 || { tail -n 20 "$1/log" >&2 && die "openssl made no certificates in $1"; }
  : >"$1/complete"
}

issue_certificates() {
  local here="DNS:localhost,IP:127.0.0.1,IP:::1"
  printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' >ca.ext
  authority ca "Warren test CA" && authority other-ca "Another CA"
  signed server ca localhost "$here" 20200101 20990101
  signed wrong-host ca elsewhere.example DNS:elsewhere.example 20200101 20990101
  signed expired ca localhost "$here" 20200101 20210101
  signed future ca localhost "$here" 20980101 20990101
  signed client ca guest "" 20200101 20990101
  signed stranger ca nobody "" 20200101 20990101
  signed client-of-other-ca other-ca guest "" 20200101 20990101
  signed client-expired ca guest "" 20200101 20210101
  openssl pkcs8 -topk8 -v2 aes-128-cbc -in client.key -passout "pass:open sesame" -out client-encrypted.key
  openssl req -x509 -new -key server.key -subj /CN=localhost -addext "subjectAltName=$here" -days 3650 -out self-signed.pem
  cp server.key self-signed.key
  key intermediate && request intermediate "Warren intermediate CA"
  sign intermediate ca ca.ext 20200101 20990101
  signed server-of-intermediate intermediate localhost "$here" 20200101 20990101
  cat intermediate.pem >>server-of-intermediate.pem
}

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
request() { openssl req -new -key "$1.key" -subj "/CN=$2" -out "$1.csr"; }

authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$2" -days 3650 -out "$1.pem" \
    -addext keyUsage=critical,keyCertSign,cRLSign
}

# signed NAME CA COMMON-NAME ALTERNATIVES FROM UNTIL, the dates as YYYYMMDD
signed() {
  key "$1" && request "$1" "$3"
  printf 'extendedKeyUsage=serverAuth,clientAuth\n%s\n' "${4:+subjectAltName=$4}" >"$1.ext"
  sign "$1" "$2" "$1.ext" "$5" "$6"
}

# `openssl x509` cannot say when a certificate begins; `openssl ca` can.
sign() {
  mkdir -p "$2.issued" && : >"$2.issued/index" && echo 'unique_subject = no' >"$2.issued/index.attr"
  cat >"$2.issued/conf" <<CONF
[ca]
default_ca = this
[this]
database = $2.issued/index
new_certs_dir = $2.issued
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
CONF
  openssl ca -batch -notext -config "$2.issued/conf" -cert "$2.pem" -keyfile "$2.key" -in "$1.csr" -out "$1.pem" \
    -extfile "$3" -startdate "${4}000000Z" -enddate "${5}000000Z"
}
