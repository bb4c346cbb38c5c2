// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick/driver"
)

// The domain of every Samba, and its administrator.
const (
	SambaRealm    = "LAB.TEST"
	SambaBase     = "DC=lab,DC=test"
	SambaHost     = "dc1.lab.test"
	SambaAdmin    = "CN=Administrator,CN=Users,DC=lab,DC=test"
	SambaPassword = "not-A-secret-1"
)

// A Samba is a domain controller of its own, on a loopback address of its own because its
// ports are fixed. Its KDC lets in whoever has a certificate of Accounts (PKINIT).
type Samba struct {
	*Process
	Dir, Address     string
	LDAP, LDAPS, KDC string          // host:port
	Config           string          // smb.conf
	KDCConfig        string          // the krb5.conf of the KDC
	ClientConfig     string          // a krb5.conf for kinit
	Cert, Key        string          // files of what LDAP shows
	Shown            driver.Material // what they hold at first
	Socket           string          // of LDAP for root, which needs no sign-in
	Restart          string          // command that starts it again
	Accounts         *Logons
	Revoked          driver.Material // of Accounts, for carol, and on the list that the KDC is told of
}

// Logons is a CA whose certificates sign in to accounts.
type Logons struct {
	Root *x509.Certificate
	key  *rsa.PrivateKey
}

// StartSamba starts a domain controller that shows a certificate of an intermediate. The lines
// come last in smb.conf, and so win.
func StartSamba(t TB, p *PKI, lines ...string) *Samba {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("a domain controller has ports below 1024: run this test as root")
	}
	dir := OpenDir(t)
	s := &Samba{Dir: dir, Address: sambaAddress(t), Accounts: NewLogons(t), Shown: p.Named(t, SambaHost)}
	s.LDAP, s.LDAPS, s.KDC = s.Address+":389", s.Address+":636", s.Address+":88"
	if out, err := exec.Command("cp", "-a", sambaTemplate(t)+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"run", "run/ncalrpc", "run/ntp", "run/winbindd", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	chain, key := MaterialPEM(t, s.Shown)
	s.Cert, s.Key = write(t, dir, "server.pem", chain), write(t, dir, "server.key", key)
	s.Config = write(t, dir, "smb.conf", strings.NewReplacer("DIR", dir, "ADDRESS", s.Address).Replace(sambaConfig)+lineEach("\t", lines))
	s.Socket = filepath.Join(dir, "private", "ldap_priv", "ldapi")
	kdcChain, kdcKey := MaterialPEM(t, s.Accounts.KDC(t))
	write(t, dir, "kdc.pem", kdcChain)
	write(t, dir, "kdc.key", kdcKey)
	write(t, dir, "anchors.pem", CertificatePEM(s.Accounts.Root.Raw))
	s.Revoked = s.Accounts.Client(t, "carol@lab.test")
	write(t, dir, "crl.pem", CRLPEM(s.Accounts.list(t, s.Revoked)))
	fill := strings.NewReplacer("DIR", dir, "KDC", s.KDC, "REALM", SambaRealm, "HOST", SambaHost)
	s.KDCConfig = write(t, dir, "kdc.conf", fill.Replace(sambaKDCConfig))
	s.ClientConfig = write(t, dir, "krb5.conf", fill.Replace(sambaClientConfig))
	// The loop is what systemd does: what ends is started again.
	loop := write(t, dir, "loop", fill.Replace(sambaLoop))
	s.Restart = "sh " + write(t, dir, "restart", fill.Replace(sambaRestart))
	for _, program := range []string{"samba", "testparm", "setpriv"} {
		Program(t, program)
	}
	s.Process = Start(t, dir, []string{"KRB5_CONFIG=" + s.KDCConfig, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, []string{"sh", loop}, s.LDAPS, s.LDAP, s.KDC)
	return s
}

// sambaAddress returns an address of loopback that nobody has taken.
func sambaAddress(t TB) string {
	t.Helper()
	defer noFork()()
	for range 100 {
		address := fmt.Sprintf("127.%d.%d.%d", 64+mathrand.IntN(64), mathrand.IntN(256), 1+mathrand.IntN(254))
		l, err := net.Listen("tcp", address+":636")
		if err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("couldn't find a free address")
	return ""
}

// sambaTemplate returns a directory with a domain that has been set up once on this machine,
// because that takes many seconds.
func sambaTemplate(t TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.Command(Program(t, "samba"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(cache, "tallystick-test")
	made := filepath.Join(parent, "domain-2-"+strings.Map(func(r rune) rune {
		if r == ' ' || r == '/' || r == '\n' {
			return -1
		}
		return r
	}, string(version)))
	if _, err := os.Stat(made); err == nil {
		return made
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	// Only one test makes it; those that wait here find it.
	lock, err := os.Create(filepath.Join(parent, "domain.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(made); err == nil {
		return made
	}
	provision(t, parent, made)
	return made
}

// provision sets a domain up in the directory made.
func provision(t TB, parent, made string) {
	t.Helper()
	fresh, err := os.MkdirTemp(parent, "making")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	tool := Program(t, "samba-tool")
	sam := filepath.Join(fresh, "private", "sam.ldb")
	for _, args := range [][]string{
		{"domain", "provision", "--targetdir=" + fresh, "--realm=" + SambaRealm, "--domain=LAB", "--server-role=dc", "--dns-backend=NONE",
			"--adminpass=" + SambaPassword, "--host-name=dc1", "--host-ip=127.0.0.1", "--option=interfaces=127.0.0.1/8", "--option=bind interfaces only=yes", "-q"},
		{"user", "setexpiry", "Administrator", "--noexpiry", "-H", sam, "-s", filepath.Join(fresh, "etc", "smb.conf")},
	} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("samba-tool %s: %v\n%s", args[0], err, last(string(out), 4000))
		}
	}
	if err := os.Rename(fresh, made); err != nil {
		t.Fatal(err)
	}
}

// Named makes a server's certificate of the intermediate for a name.
func (p *PKI) Named(t TB, name string) driver.Material {
	t.Helper()
	return p.Material(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// NewLogons makes one.
func NewLogons(t TB) *Logons {
	t.Helper()
	l := &Logons{key: NewRSAKey(t, 2048)}
	template := authority("Lab Logons")
	template.Subject.Organization = []string{"Lab"}
	l.Root = signRSA(t, template, template, &l.key.PublicKey, l.key)
	return l
}

// Client makes a certificate that names a principal of the kind user@domain.
func (l *Logons) Client(t TB, principal string) driver.Material {
	t.Helper()
	user, _, _ := strings.Cut(principal, "@")
	return l.material(t, user, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(principal)) })
	}, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 2})
}

// list makes the revocation list of the CA, DER.
func (l *Logons) list(t TB, revoked driver.Material) []byte {
	t.Helper()
	leaf, err := x509.ParseCertificate(revoked.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.AddDate(0, 0, 7),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: leaf.SerialNumber, RevocationTime: now.Add(-time.Minute)}},
	}, l.Root, l.key)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// KDC makes the certificate of a KDC (RFC 4556 section 3.2.4).
func (l *Logons) KDC(t TB) driver.Material {
	text := func(words ...string) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) {
			for _, word := range words {
				b.AddASN1(cbasn1.GeneralString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(word)) })
			}
		}
	}
	field := func(b *cryptobyte.Builder, n int, content func(*cryptobyte.Builder)) {
		b.AddASN1(cbasn1.Tag(n).ContextSpecific().Constructed(), content)
	}
	return l.material(t, SambaHost, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 2}, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			field(b, 0, text(SambaRealm))
			field(b, 1, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					field(b, 0, func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
					field(b, 1, func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.SEQUENCE, text("krbtgt", SambaRealm)) })
				})
			})
		})
	}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 3, 5})
}

func (l *Logons) material(t TB, name string, kind asn1.ObjectIdentifier, value func(*cryptobyte.Builder), purpose asn1.ObjectIdentifier) driver.Material {
	t.Helper()
	var b cryptobyte.Builder
	explicit := cbasn1.Tag(0).ContextSpecific().Constructed()
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(2).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(SambaHost)) })
		b.AddASN1(explicit, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(kind)
			b.AddASN1(explicit, value)
		})
	})
	names, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	key := NewRSAKey(t, 2048)
	leaf := signRSA(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{"Lab"}}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, UnknownExtKeyUsage: []asn1.ObjectIdentifier{purpose},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}},
	}, l.Root, &key.PublicKey, l.key)
	return driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw}}, Key: key}
}

// signRSA makes a certificate. Samba's KDC (4.17) refuses keys of other kinds.
func signRSA(t TB, template, parent *x509.Certificate, public *rsa.PublicKey, signer *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(mathrand.Int64())
	return certify(t, template, parent, signer, public)
}

const sambaConfig = `[global]
	netbios name = DC1
	workgroup = LAB
	realm = LAB.TEST
	server role = active directory domain controller
	server services = rpc, ldap, cldap, kdc
	interfaces = ADDRESS/8
	bind interfaces only = Yes
	lock directory = DIR
	state directory = DIR/state
	cache directory = DIR/cache
	private dir = DIR/private
	binddns dir = DIR/bind-dns
	pid directory = DIR/run
	ncalrpc dir = DIR/run/ncalrpc
	ntp signd socket directory = DIR/run/ntp
	winbindd socket directory = DIR/run/winbindd
	log file = DIR/log/samba.log
	logging = file
	log level = 1
	old password allowed period = 0
	tls certfile = DIR/server.pem
	tls keyfile = DIR/server.key
	tls cafile = DIR/anchors.pem
`

const sambaKDCConfig = `[libdefaults]
 default_realm = REALM
 dns_lookup_realm = false
 dns_lookup_kdc = false
[kdc]
 enable-pkinit = yes
 pkinit_identity = FILE:DIR/kdc.pem,DIR/kdc.key
 pkinit_anchors = FILE:DIR/anchors.pem
 pkinit_revoke = FILE:DIR/crl.pem
 pkinit_principal_in_certificate = yes
`

const sambaClientConfig = `[libdefaults]
 default_realm = REALM
 dns_lookup_realm = false
 dns_lookup_kdc = false
 udp_preference_limit = 1
[realms]
 REALM = {
  kdc = KDC
  pkinit_anchors = FILE:DIR/anchors.pem
  pkinit_eku_checking = kpKDC
  pkinit_kdc_hostname = HOST
 }
`

const sambaLoop = `trap 'kill $samba; exit 0' TERM
while :; do
	setpriv --pdeathsig KILL samba -F --no-process-group -M single -s DIR/smb.conf </dev/null &
	samba=$!
	echo $samba >DIR/pid
	wait $samba
	sleep 0.1
done
`

const sambaRestart = `old=$(cat DIR/pid)
kill $old 2>/dev/null
for i in $(seq 100); do
	[ "$(cat DIR/pid)" = $old ] || exit 0
	sleep 0.05
done
exit 1
`
