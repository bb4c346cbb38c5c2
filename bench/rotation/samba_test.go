// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/drivers/ad"
	"github.com/tallystick/tallystick/internal/lab"
)

// BenchmarkSamba rotates every account of a domain controller of Samba, with the proof over LDAPS and
// by Kerberos: of one that takes the old password for an hour, as they all do by themselves, and
// of one that does not.
func BenchmarkSamba(b *testing.B) {
	for _, minutes := range []int{60, 0} {
		b.Run(fmt.Sprintf("old-%dm", minutes), func(b *testing.B) {
			d := samba(b, minutes)
			for b.Loop() {
				d.rotate(b)
			}
		})
	}
}

// samba starts a domain controller that takes the old password for so many minutes.
func samba(b *testing.B, minutes int) directory {
	b.Helper()
	p := lab.NewPKI(b)
	s := lab.StartSamba(b, p, fmt.Sprintf("old password allowed period = %d", minutes))
	d := directory{first: driver.NewSecret(lab.SambaPassword), accounts: fillSamba(b, s), rotator: openSamba(b, s, p, minutes)}
	text, err := os.ReadFile(filepath.Join(s.Dir, "pid")) // of the one process (-M single)
	if err != nil {
		b.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.Fatal(err)
	}
	d.cpu = func() time.Duration { return cpuOf(b, pid) }
	return d
}

func openSamba(b *testing.B, s *lab.Samba, p *lab.PKI, minutes int) driver.Rotator {
	b.Helper()
	dir := b.TempDir()
	ca, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	for path, text := range map[string]string{ca: lab.CertificatePEM(p.Root.Raw), password: lab.SambaPassword + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	opened, err := ad.Driver().Open(map[string]string{
		"url": "ldaps://" + s.LDAPS, "server-name": lab.SambaHost, "ca": ca, "bind": lab.SambaAdmin, "password-file": password,
		"write-bind": lab.SambaAdmin, "write-password-file": password, "old-password-time": fmt.Sprintf("%dm", minutes),
	})
	if err != nil {
		b.Fatal(err)
	}
	return opened.(driver.Rotator)
}

// fillSamba makes the accounts, as root at the socket.
func fillSamba(b *testing.B, s *lab.Samba) []string {
	b.Helper()
	raw, err := net.Dial("unix", s.Socket)
	if err != nil {
		b.Fatal(err)
	}
	conn := ldap.NewConn(raw, false)
	conn.Start()
	defer conn.Close()
	policy := ldap.NewModifyRequest(lab.SambaBase, nil)
	policy.Replace("lockoutThreshold", []string{"5"})
	if err := conn.Modify(policy); err != nil {
		b.Fatal(err)
	}
	var names []string
	for i := range accounts {
		name := fmt.Sprintf("svc%04d", i)
		add := ldap.NewAddRequest("CN="+name+",CN=Users,"+lab.SambaBase, nil)
		add.Attribute("objectClass", []string{"user"})
		add.Attribute("sAMAccountName", []string{name})
		add.Attribute("userAccountControl", []string{"512"})
		add.Attribute("unicodePwd", []string{adbytes.UnicodePwd(lab.SambaPassword)})
		if err := conn.Add(add); err != nil {
			b.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}
