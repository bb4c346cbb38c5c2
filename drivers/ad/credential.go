// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/parse"
)

// certificate reads a value of userCertificate. One that a strict parser refuses is one all the same.
func certificate(der []byte) (tallystick.Credential, error) {
	return parse.Certificate(der)
}

// keyCredential makes a credential of a key: by its public half where that is of a form that is
// read, else by the name that logs have for it.
func keyCredential(key adbytes.KeyCredential, account string) tallystick.Credential {
	var c tallystick.Credential
	if public, err := parse.Key(key.SPKI); err == nil && len(key.SPKI) > 0 {
		c = tallystick.Credential{ID: tallystick.FingerprintOf(key.SPKI), Kind: tallystick.KindKey, Key: public, Subject: account, Raw: key.SPKI}
	} else {
		c = ldapdir.Named("key-credential:"+key.ID, account)
	}
	c.NotBefore = key.Created
	return c
}

func number(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) }

// versionOf names one change of an attribute among all of them.
func versionOf(c adbytes.PropertyChange) string {
	return "v" + strconv.FormatUint(uint64(c.Version), 10) + "." + c.Where
}
