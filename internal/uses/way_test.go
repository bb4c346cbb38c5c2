// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	wire "github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// recorded reads a log.
func recorded(t *testing.T, format, text string) []tallystick.Use {
	t.Helper()
	stream, err := NewStream(format, Settings{Side: tallystick.SideRelying, Near: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var sink kept
	for line := range strings.Lines(text) {
		if err := stream.Read(strings.TrimRight(line, "\r\n"), &sink); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	return sink.uses
}

// awaited reads a log until it tells of so many sign-ins.
func awaited(t *testing.T, want int, format string, log func() string) []tallystick.Use {
	t.Helper()
	var all []tallystick.Use
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		text := log()
		if all = recorded(t, format, text[:strings.LastIndexByte(text, '\n')+1]); len(all) >= want {
			return all
		}
	}
	t.Fatalf("%d sign-ins are in the log, not %d:\n%s", len(all), want, log())
	return nil
}

// newWay has an account sign in as in the first record for some days, and shows the second to the rule about new ways.
func newWay(t *testing.T, first, second tallystick.Use) []rule.Hit {
	t.Helper()
	var p rule.Profile
	for hour := range 10 * 24 {
		u := first
		u.Time = second.Time.Add(-time.Duration(10*24-hour) * time.Hour)
		profile.Learn(&p, &u)
	}
	all := rules.All()
	i := slices.IndexFunc(all, func(r rule.Rule) bool { return r.Name == "use-new-way" })
	if i < 0 {
		t.Fatal("there is no rule use-new-way")
	}
	return all[i].Use(rule.UseSubject{Use: &second, Profile: &p})
}

func trusting(p *lab.PKI, server string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(p.Root)
	return &tls.Config{RootCAs: roots, ServerName: server}
}

// An account of slapd that used its password signs in by a certificate.
func TestNewWayAtSlapd(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	slapd := lab.StartSlapd(t, lab.SlapdSettings{PKI: p})
	sign := func(bind func(*wire.Conn) error, config *tls.Config) {
		t.Helper()
		conn, err := wire.DialURL("ldaps://"+slapd.LDAPS, wire.DialWithTLSConfig(config))
		if err == nil {
			defer conn.Close()
			err = bind(conn)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	byPassword := func(conn *wire.Conn) error { return conn.Bind("uid=alice,"+slapd.People, lab.SlapdPassword) }
	config := trusting(p, "localhost")
	sign(byPassword, config)
	sign(byPassword, config)
	shown := config.Clone()
	chain, key := lab.MaterialPEM(t, p.Client(t, "alice"))
	alice, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	shown.Certificates = []tls.Certificate{alice}
	sign((*wire.Conn).ExternalBind, shown)
	told := awaited(t, 3, "openldap", slapd.Log)
	if told[0].Credential[0] != told[2].Credential[0] {
		t.Fatalf("two accounts: %+v", told)
	}
	if hits := newWay(t, told[0], told[1]); hits != nil {
		t.Errorf("the same again: %+v", hits)
	}
	if hits := newWay(t, told[0], told[2]); len(hits) != 1 || !strings.Contains(hits[0].Evidence, "first signed in by ldap (EXTERNAL) on ") || !strings.HasSuffix(hits[0].Evidence, "mostly by ldap (SIMPLE) before") {
		t.Errorf("%+v", hits)
	}
}

// An account of a domain whose program binds asks for a ticket.
func TestNewWayInADomain(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "audit.json")
	p := lab.NewPKI(t)
	samba := lab.StartSamba(t, p, "log level = 1 auth_json_audit:5@"+log)
	for range 2 {
		conn, err := wire.DialURL("ldaps://"+samba.LDAPS, wire.DialWithTLSConfig(trusting(p, lab.SambaHost)))
		if err == nil {
			err = conn.Bind(lab.SambaAdmin, lab.SambaPassword)
		}
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	kinit := exec.Command(lab.Program(t, "kinit"), "-c", filepath.Join(t.TempDir(), "tickets"), "Administrator@"+lab.SambaRealm)
	kinit.Env, kinit.Stdin = append(os.Environ(), "KRB5_CONFIG="+samba.ClientConfig), strings.NewReader(lab.SambaPassword+"\n")
	if out, err := kinit.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var told []tallystick.Use
	for _, u := range awaited(t, 3, "samba", func() string { return lab.Read(t, log) }) {
		if u.Outcome == tallystick.OutcomeSuccess && strings.HasSuffix(strings.ToLower(u.Credential[0]), "/administrator") {
			told = append(told, u)
		}
	}
	if len(told) != 3 {
		t.Fatalf("%+v", told)
	}
	if hits := newWay(t, told[0], told[1]); hits != nil {
		t.Errorf("the same again: %+v", hits)
	}
	if hits := newWay(t, told[0], told[2]); len(hits) != 1 || !strings.Contains(hits[0].Evidence, "first signed in by kerberos (") || !strings.HasSuffix(hits[0].Evidence, "mostly by ldap (simple bind/TLS) before") {
		t.Errorf("%+v", hits)
	}
}

// The logs that servers of the lab have written say by what their accounts sign in.
func TestWaysOfTheLogs(t *testing.T) {
	for format, want := range map[string]string{
		"dovecot":    "imap (PLAIN), pop3 (PLAIN)",
		"postfix":    "smtp (PLAIN), smtp (client certificate)",
		"postgresql": "postgres (cert), postgres (scram-sha-256)",
		"samba":      "kerberos (PK-INIT(ietf) Pre-authentication), ldap (simple bind)",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", format+".log"))
		if err != nil {
			t.Fatal(err)
		}
		ways := map[string]bool{}
		for _, u := range recorded(t, format, string(text)) {
			if way, ok := rule.WayOf(&u); ok {
				ways[way.Protocol+" ("+way.Method+")"] = true
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(ways)), ", "); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}
