// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Bounds of the secrets that are made, in characters. 32 of 64 letters are 192 bits, more
// than anybody can guess (NIST SP 800-63B section 5.1.1.1 asks for 20 bits), and fewer than
// 14 are refused: it is a sign of a system that keeps them badly.
const (
	usualLength = 32
	leastLength = 14
)

// classes are the letters of secrets. Each is in every secret, because policies ask for
// that, and none means anything to a shell, a configuration file, an address or a DN.
var classes = [...]string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "-_."}

// generate makes the secret that comes after one.
func generate(e Entrusted) (driver.Secret, error) {
	if e.Form == driver.FormSSH {
		return generateSSH()
	}
	length := max(usualLength, e.MinLength)
	if e.MaxLength > 0 {
		length = min(length, e.MaxLength)
	}
	if length < leastLength || length < e.MinLength {
		return driver.Secret{}, fmt.Errorf("%w: the system takes secrets of %d characters at most, and %d are the least that is safe", tallystick.ErrInvalid, e.MaxLength, leastLength)
	}
	all := strings.Join(classes[:], "")
	text := make([]byte, length)
	for {
		for i := range text {
			text[i] = pick(all)
		}
		text[0] = pick(classes[0] + classes[1]) // many a program takes what begins with "-" for an option
		if !slices.ContainsFunc(classes[:], func(class string) bool { return !strings.ContainsAny(string(text), class) }) {
			return driver.NewSecret(string(text)), nil
		}
	}
}

// pick returns one letter by chance, each as likely as the others.
func pick(letters string) byte {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
	if err != nil {
		panic(err) // it never fails (crypto/rand)
	}
	return letters[n.Int64()]
}

func generateSSH() (driver.Secret, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return driver.Secret{}, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return driver.Secret{}, fmt.Errorf("couldn't write a key for SSH: %w", err)
	}
	return driver.NewSecret(string(pem.EncodeToMemory(block))), nil
}
