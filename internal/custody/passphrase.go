// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/tallystick/tallystick"
)

// A Passphrase is a wrapping key that is derived from a passphrase with Argon2id
// (RFC 9106). Salt and costs stand beside the secrets; they tell nothing of it.
type Passphrase struct {
	*local
	identity Identity
}

// MinPassphrase is the length of the shortest passphrase, in bytes. Who has the
// database tries passphrases as fast as they can pay for, so that the least that NIST
// SP 800-63B-4 section 3.1.1.2 asks of a password that stands alone is taken.
const MinPassphrase = 15

// maxPassphrase is the length of the longest, in bytes.
const maxPassphrase = 1 << 10

// costs are the parameters of Argon2id, as they stand in wrapping_keys.
type costs struct {
	KDF     string `json:"kdf"`
	Salt    string `json:"salt"`   // hexadecimal
	Time    uint32 `json:"time"`   // passes
	Memory  uint32 `json:"memory"` // KiB
	Threads uint8  `json:"threads"`
}

// usualCosts are the second of RFC 9106 section 4: 64 MiB, for machines that are
// small.
func usualCosts() costs {
	salt := make([]byte, 16)
	rand.Read(salt) // it never fails
	return costs{KDF: "argon2id", Salt: hex.EncodeToString(salt), Time: 3, Memory: 64 << 10, Threads: 4}
}

// parseCosts reads parameters. Costs beyond reason are ErrDamaged: a database that
// was changed must not take the memory of the machine, nor make guessing cheap.
func parseCosts(text string) (costs, []byte, error) {
	var c costs
	bad := func(what string) (costs, []byte, error) {
		return costs{}, nil, fmt.Errorf("%w: the parameters of the wrapping key: %s", tallystick.ErrDamaged, what)
	}
	if len(text) > 1<<10 {
		return bad("they are too long")
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.KDF != "argon2id" {
		return bad("they are not those of argon2id")
	}
	salt, err := hex.DecodeString(c.Salt)
	if err != nil || len(salt) < 16 || len(salt) > 64 {
		return bad("the salt has 16 to 64 bytes")
	}
	if c.Time < 1 || c.Time > 16 || c.Memory < 19<<10 || c.Memory > 1<<20 || c.Threads < 1 || c.Threads > 16 {
		return bad("the costs are out of bounds")
	}
	return c, salt, nil
}

// NewPassphrase returns the wrapping key of a passphrase, which it takes over and
// clears. parameters are those on record; "" begins a new one. A passphrase that is
// too short is ErrInvalid. That it is the right one shows when it is needed.
func NewPassphrase(passphrase []byte, parameters string) (*Passphrase, error) {
	if len(passphrase) < MinPassphrase || len(passphrase) > maxPassphrase {
		clear(passphrase)
		return nil, fmt.Errorf("%w: a passphrase has %d to %d bytes: six random words are a good one", tallystick.ErrInvalid, MinPassphrase, maxPassphrase)
	}
	if parameters == "" {
		text, err := json.Marshal(usualCosts())
		if err != nil {
			return nil, err
		}
		parameters = string(text)
	}
	c, salt, err := parseCosts(parameters)
	if err != nil {
		clear(passphrase)
		return nil, err
	}
	sum := sha256.Sum256(salt)
	p := &Passphrase{identity: Identity{
		ID: "passphrase:" + hex.EncodeToString(sum[:16]), Kind: KindPassphrase, About: "a passphrase", Parameters: parameters,
	}}
	p.local = &local{fetch: func(context.Context) ([]byte, error) {
		if passphrase == nil {
			return nil, errors.New("couldn't happen: the key was derived before")
		}
		key := argon2.IDKey(passphrase, salt, c.Time, c.Memory, c.Threads, keySize)
		clear(passphrase)
		passphrase = nil
		return key, nil
	}}
	return p, nil
}

// ReadPassphrase reads the passphrase in a file, without the end of its line; see
// OpenFile for what is refused.
func ReadPassphrase(path, data, credentials string) ([]byte, error) {
	text, err := readPrivate(path, maxPassphrase+2, secrecy{outside: data, given: credentials})
	if err != nil {
		return nil, fmt.Errorf("couldn't read the passphrase: %w", err)
	}
	return bytes.TrimRight(text, "\r\n"), nil
}

// Identity implements Wrapper.
func (p *Passphrase) Identity() Identity { return p.identity }
