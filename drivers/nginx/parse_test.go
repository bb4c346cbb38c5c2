// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
)

func tree(t *testing.T, text string) []directive {
	t.Helper()
	found, err := (&reader{files: func(string) ([]string, error) { return nil, nil }}).read(text, 0)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestReadingWords(t *testing.T) {
	got := tree(t, "a \"b \\\" ; {\" 'c\\d' ${e}f#g; # h;\n\tif ($x ~ \"}\") { return 403; } map $a $b { default 0; \"~^x{2}$\" 1; }\r\ncontent_by_lua_block { local a = \"}\" -- }\n if a then { } end }\nlast;")
	want := []directive{
		{name: "a", args: []string{`b " ; {`, `c\d`, "${e}f#g"}},
		{name: "if", args: []string{"($x", "~", "}", ")"}, block: []directive{{name: "return", args: []string{"403"}}}},
	}
	if d := cmp.Diff(want, got[:2], cmp.AllowUnexported(directive{}), equalEmpty()); d != "" {
		t.Error(d)
	}
	if got[len(got)-1].name != "last" {
		t.Errorf("it ends with %q", got[len(got)-1].name)
	}
}

// equalEmpty treats a list without elements like none.
func equalEmpty() cmp.Option {
	return cmp.FilterValues(func(a, b []string) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())
}

func TestReadingRefuses(t *testing.T) {
	for what, text := range map[string]string{
		"an open brace": "http {", "a brace too many": "}", "an open quotation mark": `a "b;`, "no semicolon": "a b", "no name": "{ }",
		"too deep": strings.Repeat("a {", 100) + strings.Repeat("}", 100), "open Lua": "x_by_lua_block { {",
	} {
		if _, err := (&reader{}).read(text, 0); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", what, err)
		}
	}
	endless := &reader{}
	endless.files = func(string) ([]string, error) { return []string{"include a; include a;"}, nil }
	if _, err := endless.read("include a;", 0); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a file that includes itself gives %v", err)
	}
}

const severalServers = `
pid run/nginx.pid;
http {
	ssl_certificate /tls/all.crt; ssl_certificate_key /tls/all.key;
	ssl_session_cache shared:one:1m;
	map $ssl_client_fingerprint $no { default 0; include deny.map; }
	server { listen 443 ssl http2; listen [::]:443 ssl; listen 80; server_name _ *.a.test B.test; }
	server { listen 443; server_name ~^x; ssl_certificate own.crt; ssl_certificate_key own.key;
		ssl_client_certificate /ca.pem; ssl_crl /crl.pem; ssl_verify_client on; if ($no) { return 403; } }
	server { listen 127.0.0.2:8443 ssl; ssl_certificate "/tls/$ssl_server_name.crt"; ssl_certificate_key /tls/all.key; ssl_session_cache none; }
	server { listen unix:/run/web.sock ssl; location / { proxy_ssl_certificate c.crt; proxy_ssl_certificate_key c.key; } }
	server { listen 9443 ssl proxy_protocol; }
	server { listen 8080; }
}
stream { server { listen 10.0.0.1:636 ssl; ssl_certificate /s.pem; ssl_certificate_key /s.pem; ssl_verify_client on; ssl_client_certificate /ca.pem; } }
`

func TestEvaluating(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"nginx.conf": "include a*.conf;\ninclude none*.conf;\n", "a b.conf": severalServers, "deny.map": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opened, err := Driver().Open(map[string]string{"config": filepath.Join(dir, "nginx.conf"), "deny": filepath.Join(dir, "deny.map"), "path": "/x"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := opened.(*Door).load(t.Context(), host.Local())
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	details := map[string]string{"path": "/x"}
	all := []installing.Pair{{Certificate: "/tls/all.crt", Key: "/tls/all.key"}}
	want := &site{
		pidFile: in("run/nginx.pid"),
		servers: []server{
			{listeners: []driver.Listener{
				{Address: "127.0.0.1:443", Protocol: "https", ServerName: "b.test", Details: details},
				{Address: "[::1]:443", Protocol: "https", ServerName: "b.test", Details: details},
			}, pairs: all, outlives: true},
			{listeners: []driver.Listener{{Address: "127.0.0.1:443", Protocol: "https", Details: details}}, pairs: []installing.Pair{{Certificate: in("own.crt"), Key: in("own.key")}},
				verify: true, clientCAs: []string{"/ca.pem"}, crl: "/crl.pem", outlives: true, denies: true},
			{listeners: []driver.Listener{{Address: "127.0.0.2:8443", Protocol: "https", Details: details}}},
			{listeners: []driver.Listener{{Address: "/run/web.sock", Protocol: "https", Details: details}}, pairs: all, outlives: true},
			{listeners: []driver.Listener{{Address: "10.0.0.1:636", Protocol: "tls"}}, pairs: []installing.Pair{{Certificate: "/s.pem", Key: "/s.pem"}}, verify: true, clientCAs: []string{"/ca.pem"}},
		},
		upstreams: []installing.Pair{{Certificate: in("c.crt"), Key: in("c.key")}},
		notes: []string{
			"a certificate that is named by a variable is not looked at: /tls/$ssl_server_name.crt",
			"a listener that wants the PROXY protocol is not tried: 9443",
		},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(site{}, server{})); d != "" {
		t.Error(d)
	}
}

func TestListOfDenied(t *testing.T) {
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 40)
	text := relist([]byte("# ours"), one, false)
	text = relist(relist(text, two, false), two, false)
	if want := "# ours\n" + one + " 1;\n" + two + " 1;\n"; string(text) != want {
		t.Errorf("%q", text)
	}
	if got := string(relist(relist(text, one, true), one, true)); got != "# ours\n"+two+" 1;\n" {
		t.Errorf("%q", got)
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add(severalServers)
	f.Add("a \"b\\\"\" 'c' ${d} {x_by_lua_block{--\n}}# e\n")
	f.Add("include x; http { server { listen 1 ssl; } }")
	door := &Door{Options{Config: "/etc/nginx/nginx.conf", Deny: "/etc/nginx/deny.map", Path: "/"}}
	f.Fuzz(func(t *testing.T, text string) {
		depth := 0
		r := &reader{files: func(string) ([]string, error) {
			if depth++; depth > 100 {
				return nil, fs.ErrNotExist
			}
			return []string{text}, nil
		}}
		found, err := r.read(text, 0)
		if err == nil {
			site := door.evaluate(found)
			site.listeners()
			site.pairs()
			door.chosen(site)
		}
		relist([]byte(text), strings.Repeat("a", 40), len(text)%2 == 0)
	})
}
