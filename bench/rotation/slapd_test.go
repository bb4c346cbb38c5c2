// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/lab"
)

const (
	slapdRotator = "cn=rotator,dc=lab,dc=test"
	slapdRules   = "cn=policy,dc=lab,dc=test"
	rotatorAlone = "access to attrs=userPassword by dn.exact=\"" + slapdRotator + "\" write by self =xw by anonymous auth by * none\n" +
		"access to * by dn.exact=\"" + slapdRotator + "\" write by users read by * none\n"
)

// BenchmarkSlapd rotates every account of an OpenLDAP.
func BenchmarkSlapd(b *testing.B) {
	for _, kind := range []struct {
		name  string
		start func(b *testing.B) directory
	}{
		{"two", slapdTwo}, {"policy", slapdPolicy}, {"self", slapdSelf},
	} {
		b.Run(kind.name, func(b *testing.B) {
			d := kind.start(b)
			for b.Loop() {
				d.rotate(b)
			}
		})
	}
}

// slapdTwo has no password policy: the old password gets in until it is dropped.
func slapdTwo(b *testing.B) directory {
	return startSlapd(b, lab.SlapdSettings{Access: rotatorAlone}, true)
}

// slapdPolicy has one that locks accounts and knows one password.
func slapdPolicy(b *testing.B) directory {
	return startSlapd(b, underPolicy(lab.SlapdSettings{Access: rotatorAlone}), true)
}

// slapdSelf has nobody who sets passwords but the accounts.
func slapdSelf(b *testing.B) directory {
	return startSlapd(b, underPolicy(lab.SlapdSettings{Access: "access to attrs=userPassword by self =xw by anonymous auth by * none\n"}), false)
}

func underPolicy(s lab.SlapdSettings) lab.SlapdSettings {
	s.Modules, s.Database = []string{"ppolicy"}, "overlay ppolicy\nppolicy_default "+slapdRules
	s.Entries = "\ndn: " + slapdRules + "\nobjectClass: device\nobjectClass: pwdPolicy\npwdAttribute: userPassword\n" +
		"pwdLockout: TRUE\npwdMaxFailure: 5\npwdInHistory: 5\npwdMinLength: 12\npwdCheckQuality: 2\n"
	return s
}

func startSlapd(b *testing.B, s lab.SlapdSettings, writes bool) directory {
	b.Helper()
	d := directory{first: driver.NewSecret(lab.SlapdPassword)}
	for i := range accounts {
		s.Accounts = append(s.Accounts, fmt.Sprintf("svc%04d", i))
		d.accounts = append(d.accounts, fmt.Sprintf("uid=svc%04d,ou=people,dc=lab,dc=test", i))
	}
	s.PKI = lab.NewPKI(b)
	s.Entries += fmt.Sprintf("\ndn: %s\nobjectClass: person\ncn: rotator\nsn: rotator\nuserPassword: %s\n", slapdRotator, lab.SlapdPassword)
	slapd := lab.StartSlapd(b, s)
	d.cpu = func() time.Duration { return cpuOf(b, slapd.PID) }
	dir := b.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	password := file("password", lab.SlapdPassword)
	options := map[string]string{
		"url": "ldaps://" + slapd.LDAPS, "server-name": "localhost", "ca": file("ca.pem", lab.CertificatePEM(s.PKI.Root.Raw)),
		"bind": slapdRotator, "password-file": password,
	}
	if writes {
		options["write-bind"], options["write-password-file"] = slapdRotator, password
	}
	if s.Database != "" {
		options["policy"] = slapdRules
	}
	opened, err := ldap.Driver().Open(options)
	if err != nil {
		b.Fatal(err)
	}
	d.rotator = opened.(driver.Rotator)
	return d
}
