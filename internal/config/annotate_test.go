// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tallystick/tallystick"
)

func TestMatch(t *testing.T) {
	for _, row := range []struct {
		pattern, text string
		divider       byte
		want          bool
	}{
		{"file:///etc/nginx/*.pem", "file:///etc/nginx/tls.pem", '/', true},
		{"file:///etc/nginx/*.pem", "file:///etc/nginx/old/tls.pem", '/', false},
		{"file:///etc/nginx/**", "file:///etc/nginx/old/tls.pem", '/', true},
		{"file:///etc/**/tls.pem", "file:///etc/tls.pem", '/', false},
		{"file:///etc/**tls.pem", "file:///etc/tls.pem", '/', true},
		{"tls://*.example.com:443", "tls://www.example.com:443", '/', true},
		{"*.example.com", "www.example.com", '.', true},
		{"*.example.com", "*.example.com", '.', true},
		{"*.example.com", "a.b.example.com", '.', false},
		{"**.example.com", "a.b.example.com", '.', true},
		{"*.example.com", "example.com", '.', false},
		{"example.com", "example.com", '.', true},
		{"example.com", "example.comm", '.', false},
		{"**", "", '.', true},
		{"*", "", '.', true},
		{"***", "a.b", '.', true},
		{"*a*b*", "xaxbx", '.', true},
		{"*a*b*", "xbxax", '.', false},
		{"a?c", "abc", '.', false},
	} {
		if got := match(row.pattern, row.text, row.divider); got != row.want {
			t.Errorf("%q, %q: %t", row.pattern, row.text, got)
		}
	}
}

// match agrees with a regular expression that says the same.
func TestMatchProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pattern := rapid.StringMatching(`[a./*]{0,12}`).Draw(rt, "pattern")
		text := rapid.StringMatching(`[a./]{0,16}`).Draw(rt, "text")
		expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*\*`, `(?s:.*)`)
		expression = "^" + strings.ReplaceAll(expression, `\*`, `[^/]*`) + "$"
		if want := regexp.MustCompile(expression).MatchString(text); match(pattern, text, '/') != want {
			rt.Errorf("match(%q, %q) is %t, %s says otherwise", pattern, text, !want, expression)
		}
	})
}

// No pattern takes long: the worst ones of a backtracking matcher do not.
func TestMatchIsBounded(t *testing.T) {
	pattern := strings.Repeat("*a", maxPattern/2-1) + "b"
	text := strings.Repeat("a", 10_000)
	begun := time.Now()
	if match(pattern, text, '/') {
		t.Error("it matches")
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if match(strings.Repeat("*", maxPattern+1), "", '/') {
		t.Error("a pattern that is too long matches")
	}
}

func TestAnnotate(t *testing.T) {
	c := &Config{Annotations: []AnnotationRule{
		{Match: Match{Name: "*.shop.example.com"}, Owner: "shop", Environment: "production", Tags: []string{"pci", "web"}},
		{Match: Match{Place: "file:///srv/staging/**", Kind: "certificate"}, Owner: "staging", Environment: "staging", Tags: []string{"web", "test"}},
		{Match: Match{Tag: "pci", Algorithm: "RSA-*"}, Notes: "review"},
		{Match: Match{Issuer: "**o=example**", Subject: "cn=*"}, Owner: "it", Notes: "ours"},
		{Match: Match{Kind: "key"}, Notes: "a key"},
	}}
	cert := tallystick.Credential{
		Kind: tallystick.KindCertificate, Key: tallystick.Key{Algorithm: "rsa-2048"},
		Subject: "CN=www", Issuer: "CN=CA,O=Example", Names: []string{"other.example", "WWW.shop.example.com"},
	}
	places := []tallystick.Place{"tls://127.0.0.1:443", "file:///srv/staging/a/tls.pem"}
	for _, row := range []struct {
		cred   tallystick.Credential
		places []tallystick.Place
		want   tallystick.Annotation
	}{
		{cert, places, tallystick.Annotation{Owner: "shop", Environment: "production", Tags: []string{"pci", "web", "test"}, Notes: "review"}},
		{cert, nil, tallystick.Annotation{Owner: "shop", Environment: "production", Tags: []string{"pci", "web"}, Notes: "review"}},
		{tallystick.Credential{Kind: "certificate", Subject: "CN=a", Issuer: "O=Example"}, nil, tallystick.Annotation{Owner: "it", Notes: "ours"}},
		{tallystick.Credential{Kind: "certificate", Subject: "CN=a,O=b", Issuer: "O=Example"}, nil, tallystick.Annotation{}},
		{tallystick.Credential{Kind: "key"}, places, tallystick.Annotation{Notes: "a key"}},
	} {
		got := c.Annotate(&row.cred, row.places)
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%v: %s", row.cred, diff)
		}
	}
}

func BenchmarkAnnotate(b *testing.B) {
	var c Config
	for range 50 {
		c.Annotations = append(c.Annotations,
			AnnotationRule{Match: Match{Place: "file:///srv/app/**"}, Owner: "a"},
			AnnotationRule{Match: Match{Name: "*.shop.example.com"}, Owner: "b"})
	}
	cred := &tallystick.Credential{Names: []string{"www.example.com", "example.com"}}
	places := []tallystick.Place{"file:///etc/nginx/tls/www.example.com.pem", "tls://127.0.0.1:443"}
	for b.Loop() {
		c.Annotate(cred, places)
	}
}
