// SPDX-License-Identifier: Apache-2.0

package ad_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/drivers/ad"
	"github.com/tallystick/tallystick/internal/lab"
)

// An estate is a domain controller whose schema has key credentials, with the audit of changes on.
type estate struct {
	samba *lab.Samba
	admin *ldap.Conn // as Samba itself
	dir   string
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	p := lab.NewPKI(t)
	e := &estate{samba: lab.StartSamba(t, p), dir: t.TempDir()}
	e.write(t, "ca.pem", lab.CertificatePEM(p.Root.Raw))
	e.write(t, "password", lab.SambaPassword+"\n")
	for program, text := range map[string]string{"ldbadd": keyAttribute} {
		e.ldb(t, program, text)
	}
	e.ldb(t, "ldbmodify", keyClass)
	config, err := os.OpenFile(e.samba.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(config, "\tlog level = 1 auth_json_audit:5@%[1]s/audit.json dsdb_json_audit:5@%[1]s/audit.json\n", e.samba.Dir)
	if err := config.Close(); err != nil {
		t.Fatal(err)
	}
	e.restart(t)
	group := ldap.NewAddRequest(dn("Lab Operators"), nil)
	group.Attribute("objectClass", []string{"group"})
	group.Attribute("sAMAccountName", []string{"Lab Operators"})
	if err := e.admin.Add(group); err != nil {
		t.Fatal(err)
	}
	return e
}

// ldb changes the database without the server.
func (e *estate) ldb(t *testing.T, program, text string) {
	t.Helper()
	cmd := exec.Command(lab.Program(t, program), "-H", filepath.Join(e.samba.Dir, "private", "sam.ldb"), "--option=dsdb:schema update allowed=true")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// restart starts the domain controller again, and waits until it answers.
func (e *estate) restart(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", e.samba.Restart).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e.connect(t)
}

func (e *estate) connect(t *testing.T) {
	t.Helper()
	var err error
	for range 600 {
		var raw net.Conn
		if raw, err = net.Dial("unix", e.samba.Socket); err == nil {
			conn := ldap.NewConn(raw, false)
			conn.Start()
			_, err = conn.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", nil, nil))
			var tcp net.Conn
			if err == nil {
				if tcp, err = net.Dial("tcp", e.samba.LDAPS); err == nil {
					tcp.Close()
				}
			}
			if err == nil {
				e.admin = conn
				t.Cleanup(func() { conn.Close() })
				return
			}
			conn.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal(err)
}

func (e *estate) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(e.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (e *estate) options(edits map[string]string) map[string]string {
	all := map[string]string{
		"url": "ldaps://" + e.samba.LDAPS, "server-name": lab.SambaHost, "ca": filepath.Join(e.dir, "ca.pem"),
		"bind": lab.SambaAdmin, "password-file": filepath.Join(e.dir, "password"),
	}
	for name, value := range edits {
		all[name] = value
	}
	return all
}

func (e *estate) open(t *testing.T, edits map[string]string) *ad.AD {
	t.Helper()
	opened, err := ad.Driver().Open(e.options(edits))
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*ad.AD)
}

func dn(name string) string { return "CN=" + name + ",CN=Users," + lab.SambaBase }

// add makes an account that can sign in.
func (e *estate) add(t *testing.T, name string, attributes map[string][]string) {
	t.Helper()
	request := ldap.NewAddRequest(dn(name), nil)
	request.Attribute("objectClass", []string{"user"})
	request.Attribute("sAMAccountName", []string{name})
	request.Attribute("userAccountControl", []string{"512"})
	request.Attribute("unicodePwd", []string{adbytes.UnicodePwd(lab.SambaPassword)})
	for attribute, values := range attributes {
		request.Attribute(attribute, values)
	}
	if err := e.admin.Add(request); err != nil {
		t.Fatal(err)
	}
}

func (e *estate) modify(t *testing.T, name string, edit func(*ldap.ModifyRequest)) {
	t.Helper()
	request := ldap.NewModifyRequest(dn(name), nil)
	edit(request)
	if err := e.admin.Modify(request); err != nil {
		t.Fatal(err)
	}
}

// values reads an attribute of an account.
func (e *estate) values(t *testing.T, name, attribute string) []string {
	t.Helper()
	found, err := e.admin.Search(ldap.NewSearchRequest(dn(name), ldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", []string{attribute}, nil))
	if err != nil || len(found.Entries) != 1 {
		t.Fatal(err)
	}
	return found.Entries[0].GetAttributeValues(attribute)
}

// shadow makes a value of msDS-KeyCredentialLink as Windows does, and returns its key id.
func shadow(t *testing.T, owner string) (value, id string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	material := binary.LittleEndian.AppendUint32([]byte("RSA1"), 2048)
	for _, n := range []uint32{3, 256, 0, 0} {
		material = binary.LittleEndian.AppendUint32(material, n)
	}
	material = append(append(material, 1, 0, 1), key.N.FillBytes(make([]byte, 256))...)
	entry := func(id byte, data []byte) []byte {
		return append(append(binary.LittleEndian.AppendUint16(nil, uint16(len(data))), id), data...)
	}
	sum := sha256.Sum256(material)
	behind := append(entry(3, material), entry(4, []byte{1})...)
	behind = append(behind, entry(5, []byte{0})...)
	hash := sha256.Sum256(behind)
	blob := append([]byte{0, 2, 0, 0}, entry(1, sum[:])...)
	blob = append(append(blob, entry(2, hash[:])...), behind...)
	return fmt.Sprintf("B:%d:%s:%s", 2*len(blob), hex.EncodeToString(blob), owner), hex.EncodeToString(sum[:])
}

// The schema of 2012 has no key credentials.
const (
	keyAttribute = `dn: CN=ms-DS-Key-Credential-Link,CN=Schema,CN=Configuration,DC=lab,DC=test
objectClass: top
objectClass: attributeSchema
cn: ms-DS-Key-Credential-Link
attributeID: 1.2.840.113556.1.4.2328
attributeSyntax: 2.5.5.7
oMSyntax: 127
oMObjectClass:: KoZIhvcUAQEBCw==
isSingleValued: FALSE
lDAPDisplayName: msDS-KeyCredentialLink
schemaIDGUID:: H2tHW5Y5kES8KTp4zZA28w==
linkID: 2220
searchFlags: 0
adminDisplayName: ms-DS-Key-Credential-Link
systemOnly: FALSE
`
	keyClass = `dn: CN=User,CN=Schema,CN=Configuration,DC=lab,DC=test
changetype: modify
add: mayContain
mayContain: msDS-KeyCredentialLink
`
)
