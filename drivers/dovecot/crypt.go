// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/driver"
)

// The scheme that new passwords are kept in: crypt(3) with SHA-512, which every Dovecot knows and
// takes by default (U. Drepper, Unix crypt using SHA-256 and SHA-512, 2007). It is computed
// here, so that no password goes to another program.
const (
	scheme        = "{SHA512-CRYPT}"
	sha512Mark    = "$6$"
	usualRounds   = 5_000
	leastRounds   = 1_000
	mostRounds    = 1_000_000 // the scheme has more, which would take minutes
	saltLength    = 16
	cryptLetters  = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	maxPassphrase = 511 // bytes, of crypt(3)
)

// hashed returns a password as it stands in a passwd-file.
func hashed(password string) string {
	salt := make([]byte, saltLength)
	rand.Read(salt) // it never fails (crypto/rand)
	for i := range salt {
		salt[i] = cryptLetters[salt[i]%64]
	}
	return scheme + sha512Mark + string(salt) + "$" + sha512Crypt(password, string(salt), usualRounds)
}

const plainScheme = "{PLAIN}" // of what is no hash

// holds says whether a field of a passwd-file is of this password, as far as hashed wrote it or
// it is no hash: of any other scheme it says no.
func holds(field string, password driver.Secret) bool {
	if text, plain := strings.CutPrefix(field, plainScheme); plain {
		return subtle.ConstantTimeCompare([]byte(text), []byte(password.Reveal())) == 1
	}
	text, ok := strings.CutPrefix(field, scheme+sha512Mark)
	if !ok || len(password.Reveal()) > maxPassphrase {
		return false
	}
	rounds := usualRounds
	if more, has := strings.CutPrefix(text, "rounds="); has {
		number, rest, _ := strings.Cut(more, "$")
		n, err := strconv.Atoi(number)
		if err != nil || n < leastRounds || n > mostRounds {
			return false
		}
		rounds, text = n, rest
	}
	salt, sum, _ := strings.Cut(text, "$")
	if salt = salt[:min(len(salt), saltLength)]; sum == "" {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(sum), []byte(sha512Crypt(password.Reveal(), salt, rounds))) == 1
}

// mayHold says no where a field is known to be of another password: of what others have hashed,
// and of a password that nobody knows, it says yes.
func mayHold(field string, password driver.Secret) bool {
	ours := strings.HasPrefix(field, scheme+sha512Mark) && !strings.HasPrefix(field, scheme+sha512Mark+"rounds=")
	return password.IsZero() || !ours && !strings.HasPrefix(field, plainScheme) || holds(field, password)
}

// sha512Crypt is the hash behind the salt. Its steps have the numbers of the specification.
func sha512Crypt(password, salt string, rounds int) string {
	sum := func(parts ...[]byte) []byte {
		h := sha512.New()
		for _, part := range parts {
			h.Write(part)
		}
		return h.Sum(nil)
	}
	word, grain := []byte(password), []byte(salt)
	other := sum(word, grain, word)                           // 4-8
	parts := [][]byte{word, grain, stretch(other, len(word))} // 1-3, 9-10
	for n := len(word); n > 0; n >>= 1 {                      // 11
		if n&1 == 1 {
			parts = append(parts, other)
		} else {
			parts = append(parts, word)
		}
	}
	state := sum(parts...)                                                        // 12
	p := stretch(sum([]byte(strings.Repeat(password, len(word)))), len(word))     // 13-16
	s := stretch(sum([]byte(strings.Repeat(salt, 16+int(state[0])))), len(grain)) // 17-20
	for i := range rounds {                                                       // 21
		first, last := state, p
		if i%2 == 1 {
			first, last = p, state
		}
		var between [2][]byte
		if i%3 != 0 {
			between[0] = s
		}
		if i%7 != 0 {
			between[1] = p
		}
		state = sum(first, between[0], between[1], last)
	}
	return cryptText(state)
}

// stretch repeats a sum to a length.
func stretch(sum []byte, length int) []byte {
	var out []byte
	for len(out) < length {
		out = append(out, sum[:min(len(sum), length-len(out))]...)
	}
	return out
}

// cryptText writes a sum in the letters and the order of crypt (22).
func cryptText(sum []byte) string {
	var text strings.Builder
	write := func(value uint, letters int) {
		for range letters {
			text.WriteByte(cryptLetters[value&63])
			value >>= 6
		}
	}
	for i := range 21 {
		three := [3]uint{uint(sum[i]), uint(sum[i+21]), uint(sum[i+42])}
		turn := i % 3
		write(three[turn]<<16|three[(turn+1)%3]<<8|three[(turn+2)%3], 4)
	}
	write(uint(sum[63]), 2)
	return text.String()
}
