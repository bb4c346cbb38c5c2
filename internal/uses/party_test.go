// SPDX-License-Identifier: Apache-2.0

package uses

import "testing"

// Of a client that dials an address a log has no name, and must not make one up
// that no holder would write.
func TestAServerWhoseNameIsUnknownIsVague(t *testing.T) {
	const sha256 = "AB8E9EB4C18FB15791562B8385B7642E834F60F5C907B2351977F3C41DC80D32"
	nginx := func(sni, port string) string {
		return `{"ts":"2026-11-22T04:56:36+00:00","remote":"127.0.0.1:44616","status":200,"verify":"SUCCESS","sdn":"CN=a","fp_sha1":"1949413edcbdebde7abadfbcafbe6ab48d15c218","sni":"` + sni + `","port":"` + port + `"}`
	}
	haproxy := func(sni, port string) string {
		return `{"ts":"22/Nov/2026:04:57:19 +0000","client":"127.0.0.1:58052","status":200,"used":1,"verify":0,"sha256":"` + sha256 + `","sni":"` + sni + `","port":"` + port + `"}`
	}
	zeek := func(name, port string) string {
		return `{"ts":1795323396.6,"uid":"C1","id.orig_h":"127.0.0.1","id.resp_p":` + port + `,"server_name":"` + name + `","client_subject":"CN=a"}`
	}
	dovecot := func(name, port string) string {
		return `Nov 22 04:57:19 mail dovecot: imap-login: Login: user=<a>, method=PLAIN, rip=127.0.0.1, lip=` + name + `, lport=` + port + `, session=<x>`
	}
	for _, c := range []struct{ format, record, party string }{
		{"nginx", nginx("", "18744"), "https:"},
		{"nginx", nginx("api", "18744"), "https:api:18744"},
		{"nginx", nginx("api", ""), "https:api"},
		{"haproxy", haproxy("", "18744"), "https:"},
		{"haproxy", haproxy("-", "18744"), "https:"},
		{"haproxy", haproxy("api", "18744"), "https:api:18744"},
		{"zeek-json", zeek("", "443"), "https:"},
		{"zeek-json", zeek("api", "443"), "https:api:443"},
		{"dovecot", dovecot("", "993"), "imap:"},
		{"dovecot", dovecot("127.0.0.1", "993"), "imap:127.0.0.1:993"},
	} {
		stream, err := NewStream(c.format, Settings{})
		if err != nil {
			t.Fatal(err)
		}
		var got kept
		if err := stream.Read(c.record, &got); err != nil || len(got.uses) != 1 || got.uses[0].RelyingParty != c.party {
			t.Errorf("%s is %+v, %v; want %s", c.record, got.uses, err, c.party)
		}
	}
}
