// SPDX-License-Identifier: Apache-2.0

package sshca

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/problem"
)

// MaxKey is the largest public key that is read, in bytes: an RSA key of 16384 bits
// has less than 3 KiB.
const MaxKey = 16 << 10

// maxOption is the longest value of an option, in bytes.
const maxOption = 4 << 10

// keyTypes are the keys that are certified.
var keyTypes = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}

// ParseKey reads one public key with its comment, as ssh-keygen writes it. The key
// has a form that crypto knows: ssh.CryptoPublicKey.
func ParseKey(text []byte) (ssh.PublicKey, string, error) {
	if len(text) > MaxKey {
		return nil, "", fmt.Errorf("%w: it has %d bytes; at most %d are read", ca.ErrBadKey, len(text), MaxKey)
	}
	key, comment, options, rest, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, "", problem.With(fmt.Errorf("%w: it is not an SSH public key", ca.ErrBadKey), "Give the contents of a .pub file, such as id_ed25519.pub.")
	}
	if len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, "", problem.With(fmt.Errorf("%w: there is more than one public key, or options before it", ca.ErrBadKey), "Give one key at a time, without options.")
	}
	if !slices.Contains(keyTypes, key.Type()) {
		return nil, "", problem.With(fmt.Errorf("%w: keys of type %.80q are not certified", ca.ErrBadKey, key.Type()), "Use one of "+strings.Join(keyTypes, ", ")+".")
	}
	if strings.ContainsFunc(comment, unicode.IsControl) || !utf8.ValidString(comment) {
		comment = ""
	}
	return key, comment, nil
}

// line writes a certificate as OpenSSH reads it from KEY-cert.pub.
func line(c *ssh.Certificate, comment string) string {
	text := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(c)), "\n")
	if comment != "" {
		text += " " + comment
	}
	return text + "\n"
}

// principals returns the names of a request as they are compared: OpenSSH compares the
// names of hosts in lower case, and takes * and ? in them for patterns
// (PROTOCOL.certkeys; sshkey_cert_check_authority), which no one machine is. A comma
// ends a name for tools that show a certificate.
func principals(r SignRequest) ([]string, error) {
	names := make([]string, 0, len(r.Names))
	for _, name := range r.Names {
		if strings.ContainsAny(name, "*?,") {
			return nil, fmt.Errorf("%w: %.80q is a pattern or a list", ca.ErrBadName, name)
		}
		if r.Host {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		// A certificate without names would be good for all (PROTOCOL.certkeys).
		return nil, problem.With(fmt.Errorf("%w: the request names nothing", ca.ErrBadName), "Name an account, or of a host its name or address.")
	}
	return names, nil
}

// permissions returns the options and extensions of a certificate. Options only take
// away, so whoever asks may have any that is known here; extensions give, so they are
// those of the profile, or fewer.
func (r SignRequest) permissions(profile ca.Profile) (ssh.Permissions, error) {
	if isUser(profile) == r.Host {
		return ssh.Permissions{}, problem.With(fmt.Errorf("%w: profile %s is not for what was asked", tallystick.ErrInvalid, profile.Name),
			"Ask for the certificate of a host with a profile of hosts, and of a user with one of users.")
	}
	p := ssh.Permissions{CriticalOptions: map[string]string{}, Extensions: map[string]string{}}
	if r.Host {
		if r.SourceAddress != "" || r.ForceCommand != "" || r.Extensions != "" {
			return p, fmt.Errorf("%w: certificates of hosts have no options", tallystick.ErrInvalid)
		}
		return p, nil
	}
	if r.SourceAddress != "" {
		if err := checkAddresses(r.SourceAddress); err != nil {
			return p, err
		}
		p.CriticalOptions["source-address"] = r.SourceAddress
	}
	if r.ForceCommand != "" {
		if len(r.ForceCommand) > maxOption || strings.ContainsFunc(r.ForceCommand, unicode.IsControl) || !utf8.ValidString(r.ForceCommand) {
			return p, fmt.Errorf("%w: the command is longer than %d bytes, or has control characters", tallystick.ErrInvalid, maxOption)
		}
		p.CriticalOptions["force-command"] = r.ForceCommand
	}
	extensions, err := r.extensions(profile)
	for _, name := range extensions {
		p.Extensions[name] = ""
	}
	return p, err
}

// extensions returns those that are asked for.
func (r SignRequest) extensions(profile ca.Profile) ([]string, error) {
	switch r.Extensions {
	case "":
		return profile.OfSSH, nil
	case "none":
		return nil, nil
	}
	wanted := strings.Split(r.Extensions, ",")
	for _, name := range wanted {
		if !slices.Contains(profile.OfSSH, name) {
			return nil, problem.With(fmt.Errorf("%w: profile %s has no extension %.80q", tallystick.ErrInvalid, profile.Name, name), "It has "+strings.Join(profile.OfSSH, ", ")+".")
		}
	}
	return wanted, nil
}

// checkAddresses checks a list of addresses and blocks. OpenSSH refuses the whole
// certificate when one of them is wrong, at the login.
func checkAddresses(list string) error {
	if len(list) > maxOption {
		return fmt.Errorf("%w: the addresses are longer than %d bytes", tallystick.ErrInvalid, maxOption)
	}
	for text := range strings.SplitSeq(list, ",") {
		block, err := netip.ParsePrefix(text)
		if err == nil && block != block.Masked() {
			return problem.With(fmt.Errorf("%w: %.80q is not a block of addresses", tallystick.ErrInvalid, text), "Did you mean "+block.Masked().String()+"?")
		}
		if err == nil {
			continue
		}
		if address, err := netip.ParseAddr(text); err != nil || address.Zone() != "" {
			return problem.With(fmt.Errorf("%w: %.80q is not an address or a block of them", tallystick.ErrInvalid, text), "Write 10.1.2.3 or 10.1.0.0/16, with commas between them and no spaces.")
		}
	}
	return nil
}
