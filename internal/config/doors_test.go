// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
)

// hostKey is a public key as known_hosts writes it.
func hostKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func TestDoors(t *testing.T) {
	key := hostKey(t)
	path := write(t, `hosts:
  - {name: db1, address: 'db1.example.com:2222', user: tally, key_file: id, host_keys: ['`+key+`'], timeout: 5s}
doors:
  - name: front
    driver: nginx
    owner: shop
    options: {config: /etc/nginx/nginx.conf}
    issue: {issuer: ca/lab, profile: short, key: ed25519, names: [shop.example.com], lifetime: 24h}
  - name: directory
    driver: slapd
    host: db1
    relying_parties: ['ldap:dir.example.com:636']
recall: {quiet: 0s, canary: 2, approvals: 0, errors: 5, at_deadline: hold, connect: [10.0.0.0/8, 'dir.example.com:636']}
agents: {listen: '0.0.0.0:8445', address: 'tally.example.com:8445'}
`)
	got, err := config.Load(path, env("HOME", "/home/ada"))
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Config{
		Hosts: []config.Host{{Name: "db1", Address: "db1.example.com:2222", User: "tally", KeyFile: filepath.Join(filepath.Dir(path), "id"), HostKeys: []string{key}, Timeout: 5 * time.Second}},
		Doors: []config.Door{
			{Name: "front", Driver: "nginx", Owner: "shop", Options: map[string]driver.Secret{"config": driver.NewSecret("/etc/nginx/nginx.conf")},
				Issue: config.DoorIssue{Issuer: "ca/lab", Profile: "short", Key: "ed25519", Names: []string{"shop.example.com"}, Lifetime: 24 * time.Hour}},
			{Name: "directory", Driver: "slapd", Host: "db1", RelyingParties: []string{"ldap:dir.example.com:636"}},
		},
		Recall: config.Recall{Canary: 2, Growth: 4, Errors: 5, AtDeadline: tallystick.AtDeadlineHold, Connect: []string{"10.0.0.0/8", "dir.example.com:636"}},
		Agents: config.Agents{Listen: "0.0.0.0:8445", Address: "tally.example.com:8445"},
	}
	have := &config.Config{Hosts: got.Hosts, Doors: got.Doors, Recall: got.Recall, Agents: got.Agents}
	if diff := cmp.Diff(want, have, revealed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"config": "/etc/nginx/nginx.conf"}, got.Doors[0].Values()); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesOfDoors(t *testing.T) {
	host := "hosts: [{name: h, address: h, user: u, key_file: k, host_keys: ['" + hostKey(t) + "']"
	for _, row := range []struct{ text, want string }{
		{"doors: [{name: A, driver: x}]", `doors[0].name: it has lower-case letters`},
		{"doors: [{name: a}]", `doors[0].driver: it says which driver works there`},
		{"doors: [{name: a, driver: x}, {name: a, driver: x}]", `doors[1].name: another door is called a too`},
		{"doors: [{name: a, driver: x, host: h}]", `doors[0].host: there is no such host: add it to hosts`},
		{host + "}]\ndoors: [{name: a, driver: x, host: g}]", `doors[0].host: there is no such host: did you mean "h"?`},
		{"doors: [{name: a, driver: x, relying_parties: [dir]}]", `doors[0].relying_parties[0]: it is a kind and a name`},
		{"doors: [{name: a, driver: x, holder: " + strings.Repeat("x", 201) + "}]", `doors[0].holder: it has at most 200 bytes`},
		{"doors: [{name: a, driver: x, issue: {key: rsa-1024}}]", `doors[0].issue.key: there is no such sort of key`},
		{"doors: [{name: a, driver: x, issue: {lifetime: 1s}}]", `doors[0].issue.lifetime: it is at least 1m`},
		{"hosts: [{name: h}]", `hosts[0].address: it is a name or an address`},
		{"hosts: [{name: h, address: 'u@h'}]", `hosts[0].address: it is a name or an address`},
		{"hosts: [{name: h, address: 'h:ssh'}]", `hosts[0].address: it is a name or an address`},
		{"hosts: [{name: h}]", `hosts[0].host_keys: without the keys of the machine`},
		{"hosts: [{name: h, host_keys: ['h ssh-ed25519 AAAA']}]", `hosts[0].host_keys[0]: it is a public key such as`},
		{host + ", timeout: 1h}]", `hosts[0].timeout: it is between 1s and 5m`},
		{"recall: {quiet: -1s}", `recall.quiet: it is 0s or more`},
		{"recall: {canary: 0}", `recall.canary: it is between 1 and 1000`},
		{"recall: {growth: 0}", `recall.growth: it is between 1 and 100`},
		{"recall: {errors: 1001}", `recall.errors: it is between 0 and 1000`},
		{"recall: {approvals: 6}", `recall.approvals: it is between 0 and 5`},
		{"recall: {at_deadline: blok}", `recall.at_deadline: it is block or hold`},
		{"recall: {connect: ['https://x']}", `recall.connect[0]: it is a network such as 10.0.0.0/8`},
		{"recall: {connect: ['10.0.0.0/8:1']}", `recall.connect[0]: it is a network such as 10.0.0.0/8`},
		{"agents: {listen: 8445}", `agents.listen: it is an address and a port`},
		{"agents: {address: 'x:1'}", `agents.address: set listen as well`},
	} {
		_, err := config.Parse("c.yaml", []byte(row.text+"\n"))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.text, err, row.want)
		}
	}
}

func TestAgentConfiguration(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.yaml")
	text := `data: state
token_file: token
connect: [10.0.0.0/8, dir.example.com]
doors:
  - {name: client, driver: pemfile, holder: journal, options: {certificate: /etc/journal/tls.pem}}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := config.LoadAgent(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Agent{
		Data: filepath.Join(dir, "state"), TokenFile: filepath.Join(dir, "token"), LookEvery: 5 * time.Minute, Connect: []string{"10.0.0.0/8", "dir.example.com"},
		Doors: []config.Door{{Name: "client", Driver: "pemfile", Holder: "journal", Options: map[string]driver.Secret{"certificate": driver.NewSecret("/etc/journal/tls.pem")}}},
	}
	if diff := cmp.Diff(want, got, revealed); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesOfAgents(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"listen: x", `unknown key "listen"`},
		{"token_file: x", `data: it says where keys are kept`},
		{"data: x\nlook_every: 1s", `look_every: it is at least 10s`},
		{"data: x\nconnect: ['*']", `connect[0]: it is a network such as 10.0.0.0/8, an address, or the name of a host`},
		{"data: x\nuses: {url: 'http://h/x', token_file: t}", `uses.url: it begins with https://`},
		{"data: x\nuses: {url: 'https://h/x'}", `uses.token_file: it holds the token of the source`},
		{"data: x\ndoors: [{name: a}]", `doors[0].driver: it says which driver works there`},
	} {
		path := write(t, row.text+"\n")
		_, err := config.LoadAgent(path)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.text, err, row.want)
		}
	}
}
