// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	saltLength = 16
	// iterations are those of servers that do not name their own (scram_iterations, since 16).
	iterations = 4096
	// maxIterations bounds the work for a verifier that a server has.
	maxIterations = 1 << 20
)

// A verifier is what the server keeps of a password: "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>"
// (RFC 5803), the MD5 of older ones, or nothing.
type verifier string

// newVerifier makes one with a salt of its own; that of an empty password is nothing.
func newVerifier(password string, rounds int) (verifier, error) {
	if password == "" {
		return "", nil
	}
	if !asItStands(password) {
		return "", invalid("PostgreSQL would read the password as another one, because of characters that have several forms (SASLprep, RFC 4013): set it by hand with \\password of psql")
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // it never fails
	return scram(password, salt, max(rounds, iterations))
}

// scram computes one (RFC 5802 section 3).
func scram(password string, salt []byte, rounds int) (verifier, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("couldn't compute what PostgreSQL keeps of the password: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return verifier(fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, encode(salt), encode(stored[:]), encode(mac(salted, "Server Key")))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// isOf says whether it is that of a password of a role. An empty password is that of a role
// which has none.
func (v verifier) isOf(password, role string) bool {
	if password == "" || v == "" {
		return password == string(v)
	}
	if v.isMD5() {
		sum := md5.Sum([]byte(password + role))
		return hmac.Equal([]byte(v), []byte("md5"+hex.EncodeToString(sum[:])))
	}
	rounds, salt, err := v.parameters()
	if err != nil {
		return false
	}
	same, err := scram(password, salt, rounds)
	return err == nil && hmac.Equal([]byte(v), []byte(same))
}

func (v verifier) isMD5() bool { return strings.HasPrefix(string(v), "md5") }

// parameters reads how often and with what it was salted.
func (v verifier) parameters() (rounds int, salt []byte, err error) {
	rest, ok := strings.CutPrefix(string(v), "SCRAM-SHA-256$")
	head, _, _ := strings.Cut(rest, "$")
	number, text, _ := strings.Cut(head, ":")
	rounds, err = strconv.Atoi(number)
	if !ok || err != nil || rounds < 1 || rounds > maxIterations {
		return 0, nil, errors.New("it is none of SCRAM-SHA-256")
	}
	salt, err = base64.StdEncoding.DecodeString(text)
	return rounds, salt, err
}

// asItStands says whether the server and every client take the bytes of a password as they
// are. They prepare passwords by SASLprep (RFC 4013), each by tables of its own, and leave
// those that it forbids as they are; so that is sure where it has nothing to do.
func asItStands(password string) bool {
	if !utf8.ValidString(password) {
		return true // is never prepared
	}
	return norm.NFKC.IsNormalString(password) && !strings.ContainsFunc(password, func(r rune) bool {
		return r > unicode.MaxASCII && unicode.In(r, unicode.Zs, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
	})
}
