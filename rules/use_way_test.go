// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
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
	"github.com/tallystick/tallystick/internal/uses"
	"github.com/tallystick/tallystick/rule"
)

// by has it sign in elsewhere, in some way.
func by(party, operation string) func(*rule.UseSubject) {
	return func(s *rule.UseSubject) { s.Use.RelyingParty, s.Use.Operation = party, operation }
}

// TestWays lists ways of signing in of which one is the habit, and what is another one.
func TestWays(t *testing.T) {
	type way struct{ party, operation string }
	for name, test := range map[string]struct {
		habit, use way
		want       string
	}{
		"the same":                     {way{"ldap:10.0.0.5:389", "SIMPLE"}, way{"ldap:10.0.0.6:389", "simple"}, ""},
		"another server":               {way{"smtp:mail-1", "SASL PLAIN"}, way{"smtp:mail-2", "SASL PLAIN"}, ""},
		"Postfix and Dovecot":          {way{"smtp:mail-1", "SASL PLAIN"}, way{"smtp:10.0.0.5:587", "PLAIN"}, ""},
		"a path, and no method":        {way{"https:shop", "GET /a HTTP/1.1"}, way{"https:shop", "POST /b HTTP/1.1"}, ""},
		"an event of Windows":          {way{"kerberos:dc1", "4768"}, way{"kerberos:dc1", "4770"}, ""},
		"nobody says where":            {way{"ldap:10.0.0.5:389", "SIMPLE"}, way{"", "SIMPLE"}, ""},
		"a bind where it was Kerberos": {way{"kerberos:10.0.0.5:88", "ENC-TS Pre-authentication"}, way{"ldap:10.0.0.5:636", "simple bind/TLS"}, "ldap (simple bind/TLS)"},
		"without TLS":                  {way{"ldap:10.0.0.5:636", "simple bind/TLS"}, way{"ldap:10.0.0.5:389", "simple bind"}, "ldap (simple bind)"},
		"a key where it was a ticket":  {way{"kerberos:10.0.0.5:88", "ENC-TS Pre-authentication"}, way{"kerberos:10.0.0.5:88", "PK-INIT(ietf) Pre-authentication"}, "kerberos (PK-INIT(ietf) Pre-authentication)"},
		"POP3 where it was SMTP":       {way{"smtp:mail-1", "SASL PLAIN"}, way{"pop3:10.0.0.5:995", "PLAIN"}, "pop3 (PLAIN)"},
		"a password where it was keys": {way{"ssh:host-1", "publickey"}, way{"ssh:host-1", "password"}, "ssh (password)"},
		"an API":                       {way{"entra:t/graph", "sign-in"}, way{"https:shop", "GET / HTTP/1.1"}, "https"},
	} {
		s := used(by(test.habit.party, test.habit.operation), habit(10, 4*time.Hour), by(test.use.party, test.use.operation))()
		hits := useNewWay().Use(s)
		switch {
		case test.want == "" && hits != nil:
			t.Errorf("%s: %+v", name, hits)
		case test.want != "" && (len(hits) != 1 || !strings.HasPrefix(hits[0].Evidence, "first signed in by "+test.want+" on 2026-11-22, and mostly by ")):
			t.Errorf("%s: %+v", name, hits)
		}
		profile.Learn(s.Profile, s.Use)
		if hits := useNewWay().Use(s); hits != nil {
			t.Errorf("%s: it is told again: %+v", name, hits)
		}
	}
}

// TestWaysThatSayNothing has what is no sign-in, and who has no habit.
func TestWaysThatSayNothing(t *testing.T) {
	strange := by("pop3:mail.lab.test:110", "PLAIN")
	for name, edit := range map[string]func(*rule.UseSubject){
		"an attempt":  outcome(tallystick.OutcomeAttempt),
		"a call":      func(s *rule.UseSubject) { s.Use.Level = tallystick.LevelCall },
		"a signature": func(s *rule.UseSubject) { s.Use.Level = tallystick.LevelSignature },
		"the holder":  func(s *rule.UseSubject) { s.Use.Side = tallystick.SideHolder },
		"a late one":  at(now.AddDate(0, 0, -3)),
		"every way": func(s *rule.UseSubject) {
			for i := range rule.MaxWays {
				u := *s.Use
				u.RelyingParty = fmt.Sprintf("other-%d:a", i)
				profile.Learn(s.Profile, &u)
			}
		},
	} {
		if hits := useNewWay().Use(used(habit(8, 3*time.Hour), strange, edit)()); hits != nil {
			t.Errorf("%s: %+v", name, hits)
		}
	}
}

// A recording takes what a log says.
type recording struct{ uses []tallystick.Use }

func (r *recording) Use(u *tallystick.Use)        { r.uses = append(r.uses, *u) }
func (r *recording) Close(tallystick.ClosingMark) {}
func (r *recording) Lost(*tallystick.Use)         {}

// recorded reads a log.
func recorded(t *testing.T, format, text string) []tallystick.Use {
	t.Helper()
	stream, err := uses.NewStream(format, uses.Settings{Side: tallystick.SideRelying, Near: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var sink recording
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

// judged has an account sign in as in the first record for some days, and shows the rule the second.
func judged(first, second tallystick.Use) []rule.Hit {
	var p rule.Profile
	for hour := range 10 * 24 {
		u := first
		u.Time = second.Time.Add(-time.Duration(10*24-hour) * time.Hour)
		profile.Learn(&p, &u)
	}
	return useNewWay().Use(rule.UseSubject{Use: &second, Profile: &p})
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
	if hits := judged(told[0], told[1]); hits != nil {
		t.Errorf("the same again: %+v", hits)
	}
	if hits := judged(told[0], told[2]); len(hits) != 1 || !strings.Contains(hits[0].Evidence, "first signed in by ldap (EXTERNAL) on ") || !strings.HasSuffix(hits[0].Evidence, "mostly by ldap (SIMPLE) before") {
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
	if hits := judged(told[0], told[1]); hits != nil {
		t.Errorf("the same again: %+v", hits)
	}
	if hits := judged(told[0], told[2]); len(hits) != 1 || !strings.Contains(hits[0].Evidence, "first signed in by kerberos (") || !strings.HasSuffix(hits[0].Evidence, "mostly by ldap (simple bind/TLS) before") {
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
		text, err := os.ReadFile(filepath.Join("../internal/uses/testdata", format+".log"))
		if err != nil {
			t.Fatal(err)
		}
		ways := map[string]bool{}
		for _, u := range recorded(t, format, string(text)) {
			if way, ok := rule.WayOf(&u); ok && u.Outcome == tallystick.OutcomeSuccess {
				ways[wayName(way)] = true
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(ways)), ", "); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}
