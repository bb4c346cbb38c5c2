// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
)

// revealed compares secrets by what they hide, and leaves out where things stand.
var revealed = cmp.Options{cmp.Transformer("Reveal", driver.Secret.Reveal), cmpopts.IgnoreUnexported(config.Config{})}

func env(values ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(values); i += 2 {
			if values[i] == name {
				return values[i+1]
			}
		}
		return ""
	}
}

func TestDefaults(t *testing.T) {
	day := 24 * time.Hour
	want := &config.Config{
		Listen: "127.0.0.1:8443", Data: "/home/ada/.local/share/tallystick",
		Tally: config.Tally{Tolerance: 2 * time.Minute, Keep: 9600 * time.Hour},
		Discovery: []config.Job{
			{Name: "files", Driver: "files", Every: day},
			{Name: "truststore", Driver: "truststore", Every: day},
			{Name: "tls", Driver: "tls", Every: day},
			{Name: "ssh", Driver: "ssh", Every: day},
		},
		Issuing:         config.Issuing{EST: config.EST{Listen: "127.0.0.1:8444"}},
		Recall:          config.Recall{Quiet: time.Hour, Canary: 1, Growth: 4, Approvals: 1, AtDeadline: "block"},
		DiscoveryAtOnce: 4,
	}
	empty := write(t, "# nothing yet\n")
	for _, path := range []string{"", empty} {
		got, err := config.Load(path, env("HOME", "/home/ada", "XDG_DATA_HOME", "relative"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, revealed); diff != "" {
			t.Error(diff)
		}
		if url, err := got.StoreURL(); err != nil || url.Reveal() != want.Data+"/tally.db" {
			t.Errorf("%s, %v", url.Reveal(), err)
		}
		if token, err := got.MetricsToken(); err != nil || !token.IsZero() {
			t.Error(err)
		}
	}
	got, err := config.Load("", env("HOME", "/home/ada", "XDG_DATA_HOME", "/data"))
	if err != nil || got.Data != "/data/tallystick" {
		t.Error(got, err)
	}
	if _, err := config.Load("", env()); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
}

func TestFull(t *testing.T) {
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, string(text))
	dir := filepath.Dir(path)
	got, err := config.Load(path, env())
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Config{
		Listen: "10.0.0.5:8443", Data: "/var/lib/tallystick", DatabaseFile: dir + "/database-url",
		TLS:              config.TLS{Certificate: dir + "/tls/tally.pem", Key: dir + "/tls/tally.key"},
		MetricsTokenFile: dir + "/metrics-token",
		Syslog:           "10.0.0.5:6514",
		ASNTable:         "/usr/share/asn/ip2asn.tsv.gz",
		Sigma:            []string{dir + "/sigma", "/etc/tallystick/more.yml"},
		Tally:            config.Tally{Tolerance: 30 * time.Second, Keep: 2400 * time.Hour},
		Custody:          config.Custody{Kind: "passphrase", File: dir + "/wrapping-passphrase"},
		Issuing:          fullIssuing(),
		Issuers:          fullIssuers(),
		Renew: []config.Renewal{
			{Name: "shop-front", Issuer: "letsencrypt", Profile: "short", Names: []string{"shop.example.com", "www.shop.example.com"}, Directory: "/etc/ssl/shop-front",
				Hook: []string{"/usr/bin/systemctl", "reload", "nginx"}},
			{Name: "backend", Issuer: "ca/lab", Names: []string{"backend.example.com", "10.0.0.7"}, Key: "ed25519", KeepKey: true, Lifetime: 72 * time.Hour, RenewAt: 50,
				Directory: dir + "/backend", Hook: []string{"/usr/local/bin/restart-backend"}, HookTimeout: 5 * time.Minute},
		},
		Hosts: []config.Host{{Name: "dir1", Address: "dir1.example.com", User: "tally", KeyFile: dir + "/dir1-key",
			HostKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINThM0uH1BmQEfbM75/PG95PxeDa+Lr9jx4gJMFj3KLR"}}},
		Doors: []config.Door{
			{Name: "shop-front", Driver: "nginx", Owner: "shop", Issue: config.DoorIssue{Issuer: "letsencrypt", Profile: "short"}},
			{Name: "directory", Driver: "slapd", Host: "dir1", RelyingParties: []string{"ldap:dir1.example.com:636"}},
			{Name: "journal-client", Driver: "pemfile", Options: map[string]driver.Secret{"certificate": driver.NewSecret("/etc/journal/tls.pem")}, Holder: "journal",
				Issue: config.DoorIssue{Issuer: "ca/lab", Key: "ecdsa-p384", Lifetime: 720 * time.Hour}},
		},
		Recall:          config.Recall{Quiet: 30 * time.Minute, Canary: 2, Growth: 4, Errors: 10, Approvals: 2, AtDeadline: "block"},
		Agents:          config.Agents{Listen: "10.0.0.5:8445", Address: "tally.example.com:8445"},
		DiscoveryAtOnce: 6,
		Discovery: []config.Job{
			{Name: "files", Driver: "files", Targets: []string{"/etc", "/opt", "/srv"}, Every: 12 * time.Hour,
				Options: map[string]driver.Secret{
					"passphrases": driver.NewSecret("/etc/tallystick/passphrases"), "exclude": driver.NewSecret("/srv/build,node_modules,.git"),
				}},
			{Name: "front-ends", Driver: "tls", Targets: []string{"10.0.0.7:443", "mail.example.com:465"}, Every: 30 * time.Minute},
			{Name: "networks", Driver: "tls", Targets: []string{"10.1.0.0/16", "2001:db8:0:1::10-2001:db8:0:1::1f"}, Every: 24 * time.Hour,
				Options: map[string]driver.Secret{
					"ports": driver.NewSecret("443,8443,9000-9010"), "rate": driver.NewSecret("500"), "exclude": driver.NewSecret("10.1.66.0/24,10.1.2.7"),
				}},
			{Name: "ssh", Driver: "ssh", Targets: []string{"10.1.0.0/16"}, Every: 24 * time.Hour,
				Options: map[string]driver.Secret{"ports": driver.NewSecret("22,2222"), "exclude": driver.NewSecret("10.1.66.0/24")}},
			{Name: "old-web", Driver: "tls", Targets: []string{"10.0.0.9:443"}, Every: 24 * time.Hour, Off: true},
		},
		Annotations: []config.AnnotationRule{
			{Match: config.Match{Name: "*.shop.example.com"}, Owner: "shop", Environment: "production", Tags: []string{"pci"}},
			{Match: config.Match{Place: "file:///srv/staging/**", Kind: "certificate"}, Environment: "staging"},
			{Match: config.Match{Tag: "pci", Algorithm: "rsa-*"}, Notes: "PCI asks for a yearly review of RSA keys."},
			{Match: config.Match{Issuer: "**O=Example**", Subject: "**CN=*.corp**"}, Owner: "it"},
		},
		Rules: config.Rules{Off: []config.RuleOff{{Rule: "no-owner", Reason: "Owners are kept in the asset database."}}},
	}
	if diff := cmp.Diff(want, got, revealed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"passphrases": "/etc/tallystick/passphrases", "exclude": "/srv/build,node_modules,.git"}, got.Discovery[0].Values()); diff != "" {
		t.Error(diff)
	}
}

// Scalars are text as written, whatever YAML would make of them.
func TestScalarsAreText(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte(`
discovery:
  - {name: a, driver: b, targets: [007, 1.50, yes, true, 0x10, "q\t", 'it''s', ~, .inf], options: {p: 010, n: ~}}
annotate:
  - match: {name: a}
    notes: |
      two
      lines
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"007", "1.50", "yes", "true", "0x10", "q\t", "it's", "", ".inf"}
	if diff := cmp.Diff(want, c.Discovery[0].Targets); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"p": "010", "n": ""}, c.Discovery[0].Values()); diff != "" {
		t.Error(diff)
	}
	if got := c.Annotations[0].Notes; got != "two\nlines\n" {
		t.Errorf("%q", got)
	}
}

func TestMistakes(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"lisen: x\n", `1:1: unknown key "lisen": did you mean "listen"?`},
		{"tls:\n  Certficate: x\n", `2:3: unknown key "Certficate": did you mean "certificate"?`},
		{"zzzzzzz: 1\n", `1:1: unknown key "zzzzzzz": it is one of listen, data, database, database_file, tls, syslog, metrics_token_file, tally, sigma, asn_table, custody, vault, issuing, issuers, renew, hosts, doors, recall, agents, discovery, discovery_at_once, annotate, rules`},
		{"vault: {host: node 3}\n", `1:15: vault.host: it is the name of a host, of at most 200 bytes, with no space and no @`},
		{"discovery_at_once: 0\n", `1:20: discovery_at_once: it is between 1 and 64`},
		{"discovery_at_once: 65\n", `1:20: discovery_at_once: it is between 1 and 64`},
		{"discovery_at_once: some\n", `1:20: discovery_at_once: it is a whole number such as 4`},
		{"discovery_at_once: [1]\n", `1:20: discovery_at_once: it is a whole number such as 4`},
		{"discovery:\n  - name: a\n    driver: files\n    target: [/etc]\n", `4:5: unknown key "target": did you mean "targets"?`},
		{"listen: 8443\n", `1:9: listen: it is an address and a port, such as 127.0.0.1:8443`},
		{"listen: localhost:https\n", `1:9: listen: it is an address and a port, such as 127.0.0.1:8443`},
		{"syslog: 6514\n", `1:9: syslog: it is an address and a port, such as 0.0.0.0:6514`},
		{"listen: [a]\n", `1:9: listen: it is a text`},
		{"database: hunter2\n", `1:11: database: it is a URL that begins with postgres://; leave it out to use SQLite in the data directory`},
		{"database: postgres://hunter2@x/\ndatabase_file: y\n", `2:16: database_file: it takes the place of database: set one of the two`},
		{"tls:\n  key: k\n", `2:3: tls: certificate and key go together: set both, or none`},
		{"discovery: files\n", `1:12: discovery: it is a list`},
		{"discovery:\n  - files\n", `2:5: discovery[0]: it is a mapping of names to values`},
		{"discovery:\n  - name: A b\n    driver: files\n", `2:11: discovery[0].name: it has lower-case letters, digits and hyphens, and at most 63 of them`},
		{"discovery:\n  - {name: a, driver: b}\n  - {name: a, driver: b}\n", `3:12: discovery[1].name: another job is called a too`},
		{"discovery:\n  - name: a\n    driver: b\n    every: 1s\n", `4:12: discovery[0].every: it is at least 1m`},
		{"discovery:\n  - name: a\n    driver: b\n    every: hunter2\n", `4:12: discovery[0].every: it is a duration such as 90s, 30m or 24h`},
		{"discovery:\n  - name: a\n    driver: b\n    off: yes\n", `4:10: discovery[0].off: it is true or false`},
		{"discovery:\n  - name: a\n    driver: b\n    options: {p: [hunter2]}\n", `4:18: discovery[0].options.p: it is a text`},
		{"annotate:\n  - owner: x\n", `2:5: annotate[0].match: it says which credentials the rule is about; place: '**' is about all that are somewhere`},
		{"annotate:\n  - match: {kind: cert}\n    owner: x\n", `2:19: annotate[0].match.kind: it is one of certificate, key, ssh-certificate, sealed, named`},
		{"annotate:\n  - match: {name: x}\n", `2:5: annotate[0]: the rule says nothing: set owner, environment, tags or notes`},
		{"annotate:\n  - match: {name: x}\n    tags: [a b]\n", `3:12: annotate[0].tags[0]: a tag has no spaces and no commas, and at most 100 bytes`},
		{"annotate:\n  - match: {name: *.example.com}\n", `2:19: "*" is not supported here: write it out, or put it in quotes if it is text`},
		{"rules:\n  off:\n    - rule: expired\n", `3:7: rules.off[0].reason: it says why the rule does not apply`},
		{"a: &x hunter2\nb: *x\n", `1:4: "&" is not supported here: write it out, or put it in quotes if it is text`},
		{"listen: !!binary aGk=\n", `1:9: "!!binary" is not supported here: write it out, or put it in quotes if it is text`},
		{"listen: a:1\nlisten: b:2\n", `2:1: this is not YAML: mapping key "listen" already defined at [1:1]`},
		{"database: 'hunter2\n", `1:11: this is not YAML: could not find end character of single-quoted text`},
		{"listen: a:1\n---\ndata: b\n", `2:1: there is a second document after the first`},
		{"- a\n", `1:1: the file is a mapping, such as listen: 127.0.0.1:8443`},
		{"hunter2", `1:1: the file is a mapping, such as listen: 127.0.0.1:8443`},
		{strings.Repeat("[", 100_000), `1:17: this is nested too deep`},
		{strings.Repeat("- ", 100_000), `1:33: this is nested too deep`},
	} {
		_, err := config.Parse("c.yaml", []byte(row.text))
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%.80q: %v", row.text, err)
			continue
		}
		if diff := cmp.Diff("invalid input: c.yaml:"+row.want, err.Error()); diff != "" {
			t.Errorf("%.80q: %s", row.text, diff)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a value is in the error: %v", err)
		}
	}
}

// All mistakes are told at once, up to a point.
func TestSeveralMistakes(t *testing.T) {
	_, err := config.Parse("c.yaml", []byte("lisen: x\ntls: y\n"))
	const want = "invalid input: c.yaml:1:1: unknown key \"lisen\": did you mean \"listen\"?\nc.yaml:2:6: tls: it is a mapping of names to values"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	many := ""
	for i := range 1000 {
		many += fmt.Sprintf("k%d: 1\n", i)
	}
	if _, err := config.Parse("c.yaml", []byte(many)); strings.Count(err.Error(), "\n") != 19 {
		t.Errorf("%d lines", strings.Count(err.Error(), "\n")+1)
	}
}

func TestFiles(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), "none"), env()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := config.Load(write(t, strings.Repeat("#", 300_000)), env()); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
	c := &config.Config{DatabaseFile: write(t, "postgres://tally:hunter2@db/tally\n"), MetricsTokenFile: write(t, "s3cret\r\n")}
	if url, err := c.StoreURL(); err != nil || url.Reveal() != "postgres://tally:hunter2@db/tally" {
		t.Errorf("%q, %v", url.Reveal(), err)
	}
	if token, err := c.MetricsToken(); err != nil || token.Reveal() != "s3cret" {
		t.Errorf("%q, %v", token.Reveal(), err)
	}
	for _, bad := range []string{"", "\n", "mysql://hunter2", strings.Repeat("x", 5000)} {
		c.DatabaseFile = write(t, bad)
		if _, err := c.StoreURL(); !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// A configuration can be printed without giving away what it hides.
func TestPrintingHidesSecrets(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte("database: postgres://a:hunter2@b/\ndiscovery:\n- {name: a, driver: b, options: {p: hunter2}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v", c, *c, *c); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tally.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	for _, seed := range []string{"", "a: &x [*x]\n", "? a\n: b\n", "discovery:\n- \n- {}\n", "annotate: [{match: {place: '**'}, tags: [a]}]", "\"\\x", "a: |\n\n b", "%YAML 1.1\n---\n", "\t", "tls: {key: >-\n a}\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		begun := time.Now()
		c, err := config.Parse("c.yaml", text)
		if (c == nil) == (err == nil) || err != nil && !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v, %v", c, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// The largest file that is taken is read in no time, and so is one that nests
// as deep as it can without brackets.
func TestLargeFile(t *testing.T) {
	var rules, deep strings.Builder
	rules.WriteString("annotate:\n")
	for rules.Len() < 250_000 {
		rules.WriteString("- {match: {name: '*.example.com'}, owner: a}\n")
	}
	for i := 0; deep.Len() < 250_000; i++ {
		deep.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	begun := time.Now()
	if _, err := config.Parse("c.yaml", []byte(rules.String())); err != nil {
		t.Error(err)
	}
	if _, err := config.Parse("c.yaml", []byte(deep.String())); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestWhereThingsStand(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte("discovery:\n  - name: net\n    driver: tls\n    targets:\n      - a.example\n      - 'b.example'\n    options: {rate: 5}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"discovery[0].targets[1]":   "c.yaml:6:9",
		"discovery[0].options.rate": "c.yaml:7:21",
		"discovery[0].every":        "c.yaml:2:5", // not there: its job
	} {
		if got := c.Where(path); got != want {
			t.Errorf("%s stands at %s, want %s", path, got, want)
		}
	}
	if got := new(config.Config).Where("discovery[0].name"); got != "discovery[0].name" {
		t.Errorf("without a file: %s", got)
	}
}
