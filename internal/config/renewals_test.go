// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/config"
)

func TestMistakesOfRenewals(t *testing.T) {
	const good = "name: a, issuer: ca/lab, names: [a.example.com]"
	for _, row := range []struct{ text, want string }{
		{"{name: A b, issuer: x, names: [y]}", `renew[0].name: it has lower-case letters`},
		{"{name: a, names: [y]}", `renew[0].issuer: it says who makes the certificate`},
		{"{name: a, issuer: x}", `renew[0].names: it says what the certificate is for`},
		{"{" + good + "}, {" + good + "}", `renew[1].name: another renewal is called a too`},
		{"{" + good + ", key: ecdsa-p265}", `renew[0].key: there is no such sort of key: did you mean "ecdsa-p256"?`},
		{"{" + good + ", key: ecdsa-p521}", `renew[0].key: there is no such sort of key`},
		{"{" + good + ", lifetime: 5s}", `renew[0].lifetime: it is at least 1m`},
		{"{" + good + ", renew_at: 95}", `renew[0].renew_at: it is between 10 and 90`},
		{"{" + good + ", hook: [reload nginx]}", `renew[0].hook: it begins with the whole path of a program`},
		{"{" + good + ", hook: [/bin/true], hook_timeout: 2h}", `renew[0].hook_timeout: it is between 0s and 30m`},
		{"{" + good + ", directory: /x/y}, {name: b, issuer: x, names: [y], directory: /x/y/}", `renew[1].directory: a writes there too`},
	} {
		_, err := config.Parse("c.yaml", []byte("renew: ["+row.text+"]\n"))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.text, err, row.want)
		}
	}
}
