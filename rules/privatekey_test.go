// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func privateKeyFixtures() map[string]fixture {
	file := func(path string, facts tallystick.FileFacts) func(testing.TB) rule.Subject {
		return func(t testing.TB) rule.Subject {
			leaf := issue(t, nil, "leaf", server("example.org"))
			besides := held("/etc/ssl/certs/leaf.pem", facts)
			besides.Role = tallystick.RolePresents
			return subject(leaf.Credential, held(path, facts), besides)
		}
	}
	owners := func(first, second string) func(testing.TB) rule.Estate {
		return func(testing.TB) rule.Estate {
			return fakeEstate{keys: []rule.KeyUse{{
				Key: tallystick.Key{Algorithm: "ecdsa-p256"},
				Credentials: []rule.KeyBearer{
					{ID: "a1", Kind: tallystick.KindCertificate, Owner: first, Holds: []tallystick.Place{"file:///a.pem"}},
					{ID: "b2", Kind: tallystick.KindCertificate, Owner: second, Holds: []tallystick.Place{"file:///a.pem"}},
					{ID: "c3", Kind: tallystick.KindCertificate},
				},
			}}}
		}
	}
	return map[string]fixture{
		"key-readable-by-others": {
			Firing:   file("/etc/app/key.pem", tallystick.FileFacts{Mode: "0644", Owner: "root", Readers: []string{"everybody"}}),
			Silent:   file("/etc/app/key.pem", tallystick.FileFacts{Mode: "0600", Owner: "root"}),
			Evidence: "mode 0644, owner root: readable by everybody",
		},
		"key-without-passphrase": {
			Firing:   file("/home/eve/.ssh/id_rsa", tallystick.FileFacts{Format: "pkcs8", Owner: "eve"}),
			Silent:   file("/home/eve/.ssh/id_rsa", tallystick.FileFacts{Format: "pkcs8", Owner: "eve", Passphrase: true}),
			Evidence: "an SSH key without a passphrase, owner eve",
		},
		"shared-key": {FiringEstate: owners("mail", "web"), SilentEstate: owners("web", "web"), Evidence: "owners mail and web"},
		"weak-keystore-passphrase": {
			Firing:   file("/opt/app/keystore.jks", tallystick.FileFacts{Format: "jks", Passphrase: true, WeakPassphrase: true}),
			Silent:   file("/opt/app/keystore.jks", tallystick.FileFacts{Format: "jks", Passphrase: true}),
			Evidence: "opens this jks file",
		},
	}
}

// TestReaders has the permissions that are usual on Debian and those that are not.
func TestReaders(t *testing.T) {
	usage := []tallystick.Usage{{Service: "postgres", As: "key"}}
	for _, row := range []struct {
		path string
		file tallystick.FileFacts
		want tallystick.Severity // zero is silent
	}{
		{"/etc/ssl/private/ssl-cert-snakeoil.key", tallystick.FileFacts{Owner: "root", Readers: []string{"group:ssl-cert"}}, 0},
		{"/etc/x.key", tallystick.FileFacts{Owner: "root", Readers: []string{"group:root"}}, 0},
		{"/home/eve/x.key", tallystick.FileFacts{Owner: "eve", Readers: []string{"group:eve"}}, 0},
		{"/etc/x.key", tallystick.FileFacts{Owner: "root", Readers: []string{"group:postgres"}, UsedBy: usage}, 0},
		{"/etc/x.key", tallystick.FileFacts{Owner: "root", Readers: []string{"group:staff"}, UsedBy: usage}, tallystick.SeverityLow},
		{"/etc/x.key", tallystick.FileFacts{Owner: "root", Readers: []string{"group:staff"}, Passphrase: true}, 0},
		{"/etc/x.key", tallystick.FileFacts{Owner: "root", Readers: []string{"everybody"}, Passphrase: true}, tallystick.SeverityLow},
		{"/etc/x.key", tallystick.FileFacts{Owner: "root", Readers: []string{"everybody"}, Passphrase: true, WeakPassphrase: true}, tallystick.SeverityHigh},
		{"/etc/x.key", tallystick.FileFacts{Owner: "root", Readers: []string{"group:root", "everybody"}}, tallystick.SeverityHigh},
		{"/usr/share/doc/x/key.pem", tallystick.FileFacts{Owner: "root", Readers: []string{"everybody"}}, tallystick.SeverityInfo},
		{"/usr/share/doc/x/key.pem", tallystick.FileFacts{Owner: "root", Readers: []string{"everybody"}, UsedBy: usage}, tallystick.SeverityHigh},
		{"/usr/local/etc/key.pem", tallystick.FileFacts{Owner: "root", Readers: []string{"everybody"}}, tallystick.SeverityHigh},
	} {
		evidence, severity := judgeReaders(tallystick.FilePlace(row.path), &row.file)
		if evidence == "" {
			severity = 0
		}
		if severity != row.want {
			t.Errorf("%s %+v: %q, severity %v, want %v", row.path, row.file, evidence, severity, row.want)
		}
	}
}

// TestWhoNeedsAPassphrase has the files that people and services leave.
func TestWhoNeedsAPassphrase(t *testing.T) {
	for _, row := range []struct {
		path string
		file tallystick.FileFacts
		want bool
	}{
		{"/root/.ssh/id_ed25519", tallystick.FileFacts{Format: "openssh"}, true},
		{"/home/eve/work/server.key", tallystick.FileFacts{Format: "pem"}, true},
		{"/home/eve/work/server.key", tallystick.FileFacts{Format: "pem", UsedBy: []tallystick.Usage{{Service: "nginx"}}}, false},
		{"/home/eve/.kube/config", tallystick.FileFacts{Format: "kubeconfig"}, false},
		{"/etc/ssh/ssh_host_ed25519_key", tallystick.FileFacts{Format: "openssh"}, false},
		{"/rooted/key.pem", tallystick.FileFacts{Format: "pem"}, false},
	} {
		if evidence, _ := judgePassphrase(tallystick.FilePlace(row.path), &row.file); (evidence != "") != row.want {
			t.Errorf("%s: %q", row.path, evidence)
		}
	}
}

// TestCopiesOfAKey tells of a key at several places once, on the same
// credential in whatever order the bearers come.
func TestCopiesOfAKey(t *testing.T) {
	bearers := []rule.KeyBearer{
		{ID: "a1", Kind: tallystick.KindCertificate, Holds: []tallystick.Place{"file:///b.p12", "file:///a.pem"}},
		{ID: "b2", Kind: tallystick.KindKey, Holds: []tallystick.Place{"file:///a.pem"}},
		{ID: "c3", Kind: tallystick.KindKey},
	}
	for range bearers {
		bearers = append(bearers[1:], bearers[0])
		var hits []rule.Hit
		_ = surveySharing(rule.KeyUse{Credentials: bearers}, func(hit rule.Hit) error { hits = append(hits, hit); return nil })
		if len(hits) != 1 || hits[0].Credential != "b2" || hits[0].Severity != tallystick.SeverityInfo ||
			hits[0].Evidence != "the private key is at 2 places: file:///a.pem and file:///b.p12" {
			t.Errorf("%+v", hits)
		}
	}
}
