// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"slices"
	"testing"
)

// FuzzHeld reads what a directory may have stored: never more than what is there, and what
// store makes is always of its password and of no other.
func FuzzHeld(f *testing.F) {
	for _, value := range []string{
		"", "secret", "{", "{}", "{SSHA}", "{SSHA}AAAA", "{ssha}6ZvjKm0PfTFGMcUH8Lnnj8qe0J1zYWx0c2FsdA==", "{CRYPT}$6$salt$hash", "{ARGON2}$argon2id$v=19$m=65536",
		"{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==", "{SHA512}AA==", "{CLEARTEXT}secret", "{SASL}user@realm", "}{",
	} {
		f.Add(value, "secret")
	}
	f.Fuzz(func(t *testing.T, value, password string) {
		of, unknown := held([]string{value}, password)
		if len(of)+len(unknown) > 1 {
			t.Errorf("one value is both of the password and not known: %q", value)
		}
		made := store([]string{value}, password)
		if of, _ := held([]string{made}, password); !slices.Equal(of, []string{made}) {
			t.Errorf("what was stored as %q is not found again", made)
		}
		if of, _ := held([]string{made}, password+"x"); len(of) > 0 {
			t.Errorf("%q is of another password as well", made)
		}
	})
}

func TestStoresAsStrongAsBefore(t *testing.T) {
	for had, want := range map[string]string{
		"": "{SSHA}", "in the clear": "{SSHA}", "{SHA512}AA==": "{SSHA}", "{SSHA}AAAA": "{SSHA}", "{ssha512}AAAA": "{SSHA512}", "{SSHA256}AAAA": "{SSHA256}",
		"{CRYPT}$6$a$b": "{SSHA}", "{SSHAKE}AAAA": "{SSHA}",
	} {
		if got, _ := schemeOf(store([]string{had}, "secret")); got != want {
			t.Errorf("beside %q it is stored as %s, want %s", had, got, want)
		}
	}
}
