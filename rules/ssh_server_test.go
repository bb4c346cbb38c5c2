// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// hostKey is a host key at an SSH server, edited.
func hostKey(place tallystick.Place, facts tallystick.SSHFacts) tallystick.Sighting {
	return tallystick.Sighting{Place: place, Role: tallystick.RolePresents, Seen: now, Facts: tallystick.Facts{SSH: &facts}}
}

// modernSSH is what OpenSSH 9.9 of Debian 13 offers by default, with the
// Ed25519 key that is the last of its three.
func modernSSH() tallystick.SSHFacts {
	return tallystick.SSHFacts{
		Software: "SSH-2.0-OpenSSH_9.9",
		HostKeys: []string{"rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-ed25519"},
		Exchanges: []string{
			"sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com", "mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org",
			"ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "ext-info-s", "kex-strict-s-v00@openssh.com",
		},
		Ciphers: []string{
			"chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr",
		},
		MACs: []string{
			"umac-64-etm@openssh.com", "umac-128-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com",
			"hmac-sha1-etm@openssh.com", "umac-64@openssh.com", "umac-128@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1",
		},
		Signatures: []string{"rsa-sha2-512", "rsa-sha2-256"},
	}
}

const sshPlace = tallystick.Place("ssh://192.0.2.7:22")

// sshServer is modernSSH with an edit.
func sshServer(edit func(*tallystick.SSHFacts)) func(testing.TB) rule.Subject {
	return func(testing.TB) rule.Subject {
		facts := modernSSH()
		edit(&facts)
		return subject(&tallystick.Credential{ID: "a1", Kind: tallystick.KindKey}, hostKey(sshPlace, facts))
	}
}

func sshServerFixtures() map[string]fixture {
	as := func(edit func(*tallystick.SSHFacts)) func(testing.TB) rule.Subject { return sshServer(edit) }
	shown := func(sightings ...tallystick.Sighting) func(testing.TB) rule.Subject {
		return func(testing.TB) rule.Subject {
			return subject(&tallystick.Credential{ID: "a1", Kind: tallystick.KindKey}, sightings...)
		}
	}
	plain := modernSSH()
	behind := modernSSH()
	behind.Address = "192.0.2.7"
	return map[string]fixture{
		"ssh-old-protocol": {
			Firing:   as(func(s *tallystick.SSHFacts) { s.Software = "SSH-1.99-Cisco-1.25" }),
			Silent:   as(func(s *tallystick.SSHFacts) { s.Software = "SSH-2.0-1.5" }),
			Evidence: "SSH-1.99-Cisco-1.25",
		},
		"ssh-weak-exchange": {
			Firing: as(func(s *tallystick.SSHFacts) {
				s.Exchanges = append(s.Exchanges, "diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1")
			}),
			Silent: as(func(s *tallystick.SSHFacts) {
				s.Exchanges = append(s.Exchanges, "diffie-hellman-group14-sha256", "diffie-hellman-group-exchange-sha256")
			}),
			Evidence: "offers diffie-hellman-group1-sha1 and diffie-hellman-group14-sha1",
		},
		"ssh-weak-cipher": {
			Firing:   as(func(s *tallystick.SSHFacts) { s.Ciphers = append(s.Ciphers, "3des-cbc", "arcfour128", "aes128-cbc") }),
			Silent:   as(func(s *tallystick.SSHFacts) { s.Ciphers = append(s.Ciphers, "camellia128-ctr") }),
			Evidence: "offers 3des-cbc, aes128-cbc and arcfour128",
		},
		"ssh-weak-mac": {
			Firing:   as(func(s *tallystick.SSHFacts) { s.MACs = append(s.MACs, "hmac-md5-etm@openssh.com", "hmac-sha1-96") }),
			Silent:   as(func(*tallystick.SSHFacts) {}),
			Evidence: "offers hmac-md5-etm@openssh.com and hmac-sha1-96",
		},
		"ssh-terrapin": {
			Firing: as(func(s *tallystick.SSHFacts) { s.Exchanges = []string{"curve25519-sha256"} }),
			Silent: as(func(s *tallystick.SSHFacts) {
				s.Exchanges, s.Ciphers = []string{"curve25519-sha256"}, []string{"aes128-ctr"}
			}),
			Evidence: "offers chacha20-poly1305@openssh.com without",
		},
		"ssh-shared-host-key": {
			Firing: shown(hostKey("ssh://192.0.2.8:22", plain), hostKey("ssh://a.example:22", behind), hostKey("ssh://127.0.0.1:22", plain)),
			Silent: shown(hostKey("ssh://192.0.2.7:22", plain), hostKey("ssh://a.example:22", behind), hostKey("ssh://a.example:2222", behind),
				tallystick.Sighting{Place: "file:///root/.ssh/known_hosts", Role: tallystick.RoleAccepts, Facts: tallystick.Facts{SSH: &plain}}),
			Evidence: "the host key of 192.0.2.8, a.example and this machine",
		},
	}
}

// TestSSHNames names algorithms with what is thought of each.
func TestSSHNames(t *testing.T) {
	const low, medium, high = tallystick.SeverityLow, tallystick.SeverityMedium, tallystick.SeverityHigh
	for _, rows := range []struct {
		weigh func(string) tallystick.Severity
		want  map[string]tallystick.Severity
	}{
		{exchangeSeverity, map[string]tallystick.Severity{
			"diffie-hellman-group1-sha1": medium, "rsa1024-sha1": medium, "gss-group1-sha1-toWM5Slw5Ew8Mqkay+al2g==": medium,
			"diffie-hellman-group14-sha1": low, "diffie-hellman-group-exchange-sha1": low, "gss-gex-sha1-toWM5Slw5Ew8Mqkay+al2g==": low,
			"diffie-hellman-group14-sha256": 0, "gss-group14-sha256-toWM5Slw5Ew8Mqkay+al2g==": 0, "rsa2048-sha256": 0,
		}},
		{sshCipherSeverity, map[string]tallystick.Severity{
			"none": high, "arcfour": medium, "arcfour256": medium, "3des-cbc": medium, "3des-ctr": medium, "blowfish-cbc": medium, "cast128-cbc": medium,
			"des-cbc@ssh.com": medium, "idea-cbc": medium, "aes256-cbc": low, "rijndael-cbc@lysator.liu.se": low, "twofish-cbc": low,
			"aes256-ctr": 0, "AEAD_AES_256_GCM": 0, "chacha20-poly1305@openssh.com": 0,
		}},
		{macSeverity, map[string]tallystick.Severity{
			"none": high, "hmac-md5": low, "hmac-md5-96-etm@openssh.com": low, "hmac-sha1-96-etm@openssh.com": low, "hmac-sha2-256-96": low,
			"hmac-sha1": 0, "umac-64@openssh.com": 0, "hmac-sha2-512": 0, "AEAD_AES_128_GCM": 0,
		}},
	} {
		for name, want := range rows.want {
			if got := rows.weigh(name); got != want {
				t.Errorf("%s: severity %v, want %v", name, got, want)
			}
		}
	}
}

func TestTerrapinByCBC(t *testing.T) {
	s := tallystick.SSHFacts{Exchanges: []string{"ecdh-sha2-nistp256"}, Ciphers: []string{"aes128-cbc", "aes128-ctr"}, MACs: []string{"hmac-sha2-256"}}
	if got, _ := judgeTerrapin(&s); got != "" {
		t.Errorf("CBC with encrypt-and-MAC: %s", got)
	}
	s.MACs = append(s.MACs, "hmac-sha2-256-etm@openssh.com")
	if got, _ := judgeTerrapin(&s); got == "" {
		t.Error("CBC with encrypt-then-MAC is not told")
	}
	if got, _ := judgeTerrapin(&tallystick.SSHFacts{Ciphers: []string{"chacha20-poly1305@openssh.com"}}); got != "" {
		t.Errorf("a server of which nothing is known: %s", got)
	}
}

// TestServersAreToldOnce looks at the three host keys of one bad server.
func TestServersAreToldOnce(t *testing.T) {
	told := map[string]int{}
	for _, signatures := range [][]string{{"rsa-sha2-512", "rsa-sha2-256"}, {"ecdsa-sha2-nistp256"}, {"ssh-ed25519"}} {
		s := sshServer(func(f *tallystick.SSHFacts) {
			f.HostKeys = append([]string{"ssh-unheard-of"}, f.HostKeys...)
			f.Exchanges, f.Signatures = []string{"diffie-hellman-group1-sha1"}, signatures
		})(t)
		for _, r := range All() {
			if r.Check != nil && len(r.Check(s)) > 0 {
				told[r.Name]++
			}
		}
	}
	want := map[string]int{"ssh-weak-exchange": 1, "ssh-terrapin": 1, "no-post-quantum": 1}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHostKeyOfSHA1Alone(t *testing.T) {
	old := sshServer(func(s *tallystick.SSHFacts) {
		s.HostKeys, s.Signatures = []string{"ssh-rsa", "ssh-dss"}, []string{"ssh-rsa"}
	})
	both := sshServer(func(s *tallystick.SSHFacts) {
		s.HostKeys, s.Signatures = []string{"ssh-rsa", "ssh-ed25519"}, []string{"ssh-rsa"}
	})
	want := []rule.Hit{{Place: sshPlace, Evidence: "the server signs with ssh-rsa and ssh-dss alone", Severity: tallystick.SeverityMedium}}
	if diff := cmp.Diff(want, sshSHA1().Check(old(t))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if hits := sshSHA1().Check(both(t)); hits != nil {
		t.Errorf("a server that has Ed25519 too: %+v", hits)
	}
}

// TestWeakHostKey sees a key of 1024 bits at a server, where it counts in full.
func TestWeakHostKey(t *testing.T) {
	s := subject(&tallystick.Credential{ID: "a1", Kind: tallystick.KindKey, Key: tallystick.Key{Algorithm: "dsa-1024", Bits: 1024}},
		hostKey(sshPlace, modernSSH()))
	want := []rule.Hit{{Evidence: "DSA of 1024 bits", Severity: tallystick.SeverityHigh}}
	if diff := cmp.Diff(want, weakKey().Check(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
