// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"encoding/pem"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
)

// readOpenSSH reads the container of OpenSSH (PROTOCOL.key). The public half
// stands in it in the clear; well-known passphrases are tried on the private
// one to say whether it is protected at all.
func (r *reader) readOpenSSH(data []byte) {
	rest, ok := bytes.CutPrefix(data, []byte("openssh-key-v1\x00"))
	w := &wire{rest: rest}
	cipher, kdf, options := w.string(), w.string(), w.string()
	count := w.uint32()
	public := w.string()
	if !ok || w.short || count != 1 {
		r.problem("malformed", "OpenSSH private key of an unknown form")
		return
	}
	item := Item{Role: tallystick.RoleHolds, Format: "openssh", Private: true, Passphrase: string(cipher) != "none"}
	c, _, ok := sshCredential(public, "")
	if !ok {
		r.problem("unsupported", "OpenSSH private key of an unknown type")
		c = sealed(data)
	}
	item.Credential = c
	if item.Passphrase && string(kdf) == "bcrypt" {
		item.WeakPassphrase = r.sshIsWeak(data, options)
	}
	r.add(item)
}

// sshIsWeak tries what everybody knows; an empty passphrase means no
// encryption to OpenSSH. A DSA key is never called weak, because the library
// does not open it.
func (r *reader) sshIsWeak(data, options []byte) bool {
	w := &wire{rest: options}
	w.string() // salt
	rounds := w.uint32()
	block := pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: data})
	for _, passphrase := range wellKnown {
		if passphrase == "" {
			continue
		}
		if w.short || !r.work.spend(int(rounds), bcryptCost) {
			return false
		}
		if _, err := ssh.ParseRawPrivateKeyWithPassphrase(block, []byte(passphrase)); err == nil {
			return true
		}
	}
	return false
}
