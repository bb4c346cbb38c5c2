// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick/driver"
)

// SlapdSettings say what a slapd is started with. The zero value of each but PKI is good.
type SlapdSettings struct {
	PKI      *PKI
	Server   driver.Material // what it shows; the zero value is one of the PKI for localhost
	CRLs     [][]byte        // what it begins with, DER; none is no list at all
	Verify   string          // TLSVerifyClient; "" is "try"
	Accounts []string        // whom the certificates of CN=name let in, and who have the password SlapdPassword; none is alice and bob

	Modules  []string // besides those of the database: "ppolicy"
	Access   string   // rules of access, a line each, before the usual ones
	Database string   // further lines of the database, such as overlays
	Entries  string   // LDIF of entries behind the accounts
	Empty    bool     // begin with no entry at all: they come from another server
}

// SlapdPassword is that of every account and of the administrator.
const SlapdPassword = "not-a-secret"

// A Slapd is an OpenLDAP server with a configuration that can be changed while it runs
// (cn=config), over LDAPI, by who runs the test.
type Slapd struct {
	*Process
	Dir, LDAP, LDAPS          string // host:port of StartTLS and of TLS
	Socket                    string // of LDAPI
	Suffix, People, Admin     string // DNs
	Cert, Key, CA, CRL        string // files; CRL is there when there were lists to begin with
	Config, ArgsFile, PIDFile string
	Material                  driver.Material // what it shows at first
}

// StartSlapd starts one. Who has a certificate of CN=alice gets in as uid=alice by SASL EXTERNAL.
func StartSlapd(t TB, s SlapdSettings) *Slapd {
	t.Helper()
	if len(s.Server.Chain) == 0 {
		s.Server = s.PKI.Localhost(t)
	}
	if s.Accounts == nil {
		s.Accounts = []string{"alice", "bob"}
	}
	dir := OpenDir(t)
	d := &Slapd{
		Dir: dir, LDAP: Loopback(FreePort(t)), LDAPS: Loopback(FreePort(t)), Socket: filepath.Join(dir, "ldapi"),
		Suffix: "dc=lab,dc=test", People: "ou=people,dc=lab,dc=test", Admin: "cn=admin,dc=lab,dc=test",
		Config: filepath.Join(dir, "slapd.d"), ArgsFile: filepath.Join(dir, "slapd.args"), PIDFile: filepath.Join(dir, "slapd.pid"),
		Material: s.Server,
	}
	chain, key := MaterialPEM(t, s.Server)
	d.Cert, d.Key = write(t, dir, "server.pem", chain), write(t, dir, "server.key", key)
	d.CA = write(t, dir, "ca.pem", CertificatePEM(s.PKI.Sub.Raw, s.PKI.Root.Raw))
	d.CRL = filepath.Join(dir, "crl.pem")
	lists := ""
	if len(s.CRLs) > 0 {
		write(t, dir, "crl.pem", CRLPEM(s.CRLs...))
		lists = "TLSCRLFile " + d.CRL
	}
	for _, name := range []string{d.Config, filepath.Join(dir, "db")} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := write(t, dir, "slapd.conf", strings.NewReplacer("DIR", dir, "VERIFY", cmp.Or(s.Verify, "try"), "LISTS", lists,
		"PASSWORD", SlapdPassword, "UID", fmt.Sprint(os.Getuid()), "MODULES", lineEach("moduleload ", s.Modules), "ACCESS", s.Access,
		"DATABASE", s.Database).Replace(slapdConfig))
	first := slapdEntries(s.Accounts) + "\n" + s.Entries
	if s.Empty {
		first = ""
	}
	runSlapdTool(t, "slapadd", "-q", "-f", config, "-b", d.Suffix, "-l", write(t, dir, "entries.ldif", first))
	runSlapdTool(t, "slaptest", "-f", config, "-F", d.Config)
	addresses := "ldap://" + d.LDAP + " ldaps://" + d.LDAPS + " ldapi://" + url.QueryEscape(d.Socket)
	d.Process = Start(t, dir, nil, []string{Program(t, "slapd"), "-F", d.Config, "-h", addresses, "-d", "stats"}, d.LDAP, d.LDAPS)
	return d
}

func runSlapdTool(t TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(Program(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func lineEach(before string, names []string) string {
	lines := ""
	for _, name := range names {
		lines += before + name + "\n"
	}
	return lines
}

func slapdEntries(accounts []string) string {
	text := "dn: dc=lab,dc=test\nobjectClass: dcObject\nobjectClass: organization\no: Lab\n\n" +
		"dn: ou=people,dc=lab,dc=test\nobjectClass: organizationalUnit\n"
	for _, name := range accounts {
		text += fmt.Sprintf("\ndn: uid=%[1]s,ou=people,dc=lab,dc=test\nobjectClass: inetOrgPerson\ncn: %[1]s\nsn: %[1]s\nuserPassword: %[2]s\n", name, SlapdPassword)
	}
	return text
}

const slapdConfig = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile DIR/slapd.pid
argsfile DIR/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
MODULES
loglevel stats
threads 4
TLSCACertificateFile DIR/ca.pem
TLSCertificateFile DIR/server.pem
TLSCertificateKeyFile DIR/server.key
LISTS
TLSVerifyClient VERIFY
authz-regexp "^cn=([^,]+)$" "uid=$1,ou=people,dc=lab,dc=test"
authz-regexp "^gidNumber=.*\+uidNumber=UID,cn=peercred,cn=external,cn=auth$" "cn=admin,dc=lab,dc=test"

database config
rootdn "cn=admin,dc=lab,dc=test"

database monitor
access to * by dn.exact="cn=admin,dc=lab,dc=test" read

database mdb
suffix "dc=lab,dc=test"
rootdn "cn=admin,dc=lab,dc=test"
rootpw PASSWORD
directory DIR/db
dbnosync
maxsize 16777216
ACCESS
access to attrs=userPassword by self write by anonymous auth by * none
access to * by users read by * none
DATABASE
`
