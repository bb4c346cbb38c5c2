// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

func TestSecretsAreAsLongAsTheSystemAsks(t *testing.T) {
	for _, row := range []struct {
		least, most, want int // of characters; 0: none is made
	}{
		{0, 0, 32}, {40, 0, 40}, {0, 20, 20}, {16, 14, 0}, {0, 14, 14}, {0, 13, 0}, {8, 200, 32},
	} {
		made, err := generate(Entrusted{MinLength: row.least, MaxLength: row.most})
		if got := len(made.Reveal()); got != row.want || (row.want == 0) != errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("from %d to %d: %d characters, %v", row.least, row.most, got, err)
		}
	}
}

// Policies ask for letters of every class; programs take what begins with a sign for an option.
func TestSecretsHaveEveryClassAndBeginWithALetter(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		made, err := generate(Entrusted{MaxLength: leastLength})
		if err != nil {
			t.Fatal(err)
		}
		text := made.Reveal()
		for _, class := range classes {
			if !strings.ContainsAny(text, class) {
				t.Errorf("a secret has none of %q", class)
			}
		}
		if strings.Trim(text, strings.Join(classes[:], "")) != "" || !strings.ContainsAny(text[:1], classes[0]+classes[1]) {
			t.Error("a secret has or begins with another character")
		}
		if seen[text] {
			t.Error("a secret came twice")
		}
		seen[text] = true
	}
}

func TestKeysOfSSHAreWhatOpenSSHReads(t *testing.T) {
	made, err := generate(Entrusted{Form: driver.FormSSH})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey([]byte(made.Reveal()))
	if err != nil || key.PublicKey().Type() != ssh.KeyAlgoED25519 {
		t.Errorf("%v, %v", key, err)
	}
}
