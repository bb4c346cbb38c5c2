// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"slices"
	"strings"
)

// A scheme is a way to store a password in userPassword, as "{NAME}" and the Base64 of the hash of
// the password and the salt, with the salt behind it (RFC 2307 section 5.3, and slapd's
// contrib/slapd-modules/passwd/sha2).
type scheme struct {
	hash   func() hash.Hash
	salted bool
}

// schemes are those that are checked here. Old ones are among them: what stands in a directory is
// to be removed.
func schemes() map[string]scheme {
	return map[string]scheme{
		"{SSHA}": {sha1.New, true}, "{SSHA256}": {sha256.New, true}, "{SSHA384}": {sha512.New384, true}, "{SSHA512}": {sha512.New, true},
		"{SHA}": {sha1.New, false}, "{SHA256}": {sha256.New, false}, "{SHA384}": {sha512.New384, false}, "{SHA512}": {sha512.New, false},
		"{SMD5}": {md5.New, true}, "{MD5}": {md5.New, false},
	}
}

// schemeOf returns the scheme of a stored value in capitals, "" for one in the clear, and what is
// behind it.
func schemeOf(value string) (name, rest string) {
	end := strings.IndexByte(value, '}')
	if !strings.HasPrefix(value, "{") || end < 0 {
		return "", value
	}
	return strings.ToUpper(value[:end+1]), value[end+1:]
}

// held returns the stored values that are of a password, and those of schemes that are not
// checked here, such as {CRYPT} and {ARGON2}, which may be.
func held(stored []string, password string) (of, unknown []string) {
	known := schemes()
	for _, value := range stored {
		name, rest := schemeOf(value)
		s, is := known[name]
		switch {
		case name == "" || name == "{CLEARTEXT}":
			if subtle.ConstantTimeCompare([]byte(rest), []byte(password)) == 1 {
				of = append(of, value)
			}
		case !is:
			unknown = append(unknown, value)
		case s.holds(rest, password):
			of = append(of, value)
		}
	}
	return of, unknown
}

func (s scheme) holds(rest, password string) bool {
	raw, err := base64.StdEncoding.DecodeString(rest)
	h := s.hash()
	if err != nil || len(raw) < h.Size() || len(raw) > h.Size() && !s.salted {
		return false
	}
	h.Write([]byte(password))
	h.Write(raw[h.Size():])
	return subtle.ConstantTimeCompare(h.Sum(nil), raw[:h.Size()]) == 1
}

// store makes a value of a password that the directory can check: of the strongest salted scheme
// that a value of the account has already, because modules bring those, else {SSHA}, which is
// the only one that every slapd is built with. A plain SHA-1 is weak for passwords that can be guessed;
// what a rotation sets is random, and is not found from its hash. The value is not sent in the
// clear for the directory to hash it, because without a password policy it would be kept so.
func store(stored []string, password string) string {
	name := "{SSHA}"
	for _, strong := range []string{"{SSHA256}", "{SSHA384}", "{SSHA512}"} {
		if slices.ContainsFunc(stored, func(value string) bool { used, _ := schemeOf(value); return used == strong }) {
			name = strong
		}
	}
	const saltSize = 16
	salt := make([]byte, saltSize)
	rand.Read(salt) // which never fails
	h := schemes()[name].hash()
	h.Write([]byte(password))
	h.Write(salt)
	return name + base64.StdEncoding.EncodeToString(append(h.Sum(nil), salt...))
}
