// SPDX-License-Identifier: Apache-2.0

package web

import (
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n\ttext": "plain\n\ttext", "häuser 漢字 🔑": "häuser 漢字 🔑", "שלום": "שלום",
		"a\u202Eb": "a[U+202E]b", "\x00\r\x1b[31m": "[U+0000][U+000D][U+001B][31m", "a\u00ADb": "a[U+00AD]b", "\U000E0041": "[U+E0041]",
		"<textarea name=\"n\">a\u200Db</textarea>\u200D":                   "<textarea name=\"n\">a\u200Db</textarea>[U+200D]",
		"<input name=\"n\" value=\"\u202E\" title=\"\u202E\"><p>\u202E":    "<input name=\"n\" value=\"\u202E\" title=\"[U+202E]\"><p>[U+202E]",
		"<p title=\"\u202E\">&lt;input value=&#34;\u202E&#34;&gt;</p>":     "<p title=\"[U+202E]\">&lt;input value=&#34;[U+202E]&#34;&gt;</p>",
		"<li value=\"\u202E\"><input name=\"\u202E\"><a value=\"\u202E\">": "<li value=\"[U+202E]\"><input name=\"[U+202E]\"><a value=\"[U+202E]\">",
		"\u3164": "[U+3164]", "\x7f": "[U+007F]", "\u0085": "[U+0085]",
	} {
		if got := string(visible([]byte(in))); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

// Whatever is put in, what comes out hides nothing outside of form fields and
// passes unchanged.
func FuzzVisible(f *testing.F) {
	f.Add([]byte("a\u202Eb\xff"))
	f.Add([]byte("<p>häuser</p>"))
	f.Add([]byte("<input x=\u202E value=\"\u202E\">\u202E<textarea>\u200D</textarea>"))
	f.Fuzz(func(t *testing.T, page []byte) {
		once := string(visible(page))
		if strings.ContainsFunc(fieldValue.ReplaceAllString(once, "-"), hidden) {
			t.Errorf("%q still hides something: %q", page, once)
		}
		if twice := string(visible([]byte(once))); twice != once {
			t.Errorf("%q becomes %q", once, twice)
		}
	})
}

func TestNameOf(t *testing.T) {
	for _, test := range []struct {
		subject string
		names   []string
		want    string
	}{
		{"CN=mail.example.net,O=Example", nil, "mail.example.net"},
		{"O=Example,CN=Root CA", nil, "Root CA"},
		{`O=a\,CN=trick,CN=real\, indeed`, nil, "real, indeed"},
		{"serialNumber=1+CN=two", nil, "two"},
		{"O=Example", []string{"a.example"}, "a.example"},
		{"O=Example", nil, "O=Example"},
		{"anna@laptop", nil, "anna@laptop"},
		{"", nil, "key 0123456789ab"},
		{`CN=`, nil, "CN="},
		{`CN=\`, nil, `\`},
		{"CN=" + strings.Repeat("ü", 200), nil, strings.Repeat("ü", maxName) + "…"},
	} {
		if got := nameOf(test.subject, test.names, tallystick.KindKey, "0123456789abcdef"); got != test.want {
			t.Errorf("%q, %q: %q, want %q", test.subject, test.names, got, test.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567", 100000: "100,000"} {
		if got := number(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if got := total(10_000); got != "10,000+" {
		t.Errorf("the cap is written %q", got)
	}
	if got := groups("0123456789abcdef01"); got != "0123 4567 89ab cdef 01" {
		t.Errorf("groups: %q", got)
	}
}
