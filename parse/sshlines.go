// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/tallystick/tallystick"
)

// readKeyLines reads public key lines as in sshd(8), "AUTHORIZED_KEYS FILE
// FORMAT", which is also that of .pub files, certificates and CA lists.
// authorized says that whoever has such a key is let in.
func (r *reader) readKeyLines(data []byte, authorized bool) {
	r.eachLine(data, func(number int, line string) {
		options, rest := splitOptions(line)
		kind, rest := cutField(rest)
		encoded, comment := cutField(rest)
		if !isSSHType(kind) {
			if authorized {
				r.problem("malformed", "line %d: no SSH key type", number)
			}
			return
		}
		item := Item{Role: tallystick.RolePresents, Format: "openssh"}
		if authorized || options != nil {
			item.Role, item.Format = tallystick.RoleAccepts, "authorized_keys"
		}
		facts := &tallystick.SSHFacts{Line: number, Comment: printable(comment), Options: options}
		for _, option := range options {
			facts.CertAuth = facts.CertAuth || strings.EqualFold(option, "cert-authority")
		}
		r.addSSH(encoded, comment, item, facts)
	})
}

// readKnownHosts reads the lines of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". A
// revoked key is not accepted; its mark is in the options.
func (r *reader) readKnownHosts(data []byte) {
	r.eachLine(data, func(number int, line string) {
		item := Item{Role: tallystick.RoleAccepts, Format: "known_hosts"}
		facts := &tallystick.SSHFacts{Line: number}
		hosts, rest := cutField(line)
		switch hosts {
		case "@cert-authority":
			facts.CertAuth = true
			hosts, rest = cutField(rest)
		case "@revoked":
			item.Role, facts.Options = tallystick.RolePresents, []string{"@revoked"}
			hosts, rest = cutField(rest)
		}
		kind, rest := cutField(rest)
		encoded, comment := cutField(rest)
		if !isSSHType(kind) {
			r.problem("malformed", "line %d: no SSH key type", number)
			return
		}
		facts.Hosts = strings.SplitN(printable(hosts), ",", maxHosts+1)
		facts.Hosts = facts.Hosts[:min(len(facts.Hosts), maxHosts)]
		facts.Comment = printable(comment)
		r.addSSH(encoded, comment, item, facts)
	})
}

// maxHosts bounds the names of a line; a host rarely has more than five.
const maxHosts = 1000

// addSSH reads the base64 of a line.
func (r *reader) addSSH(encoded, comment string, item Item, facts *tallystick.SSHFacts) {
	blob, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		r.problem("malformed", "line %d: the SSH key is not base64", facts.Line)
		return
	}
	c, options, ok := sshCredential(blob, comment)
	if !ok {
		r.problem("malformed", "line %d: the SSH key cannot be read", facts.Line)
		return
	}
	facts.Options = append(facts.Options, options...)
	item.Credential, item.SSH = c, facts
	r.add(item)
}

// eachLine calls fn for every line that is neither empty nor a comment, with
// its number counted from 1.
func (r *reader) eachLine(data []byte, fn func(number int, line string)) {
	for number := 1; len(data) > 0; number++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			if r.full() {
				return
			}
			fn(number, string(line))
		}
	}
}

// cutField cuts the first field off at blanks.
func cutField(line string) (field, rest string) {
	line = strings.TrimLeft(line, " \t")
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return line[:i], strings.TrimSpace(line[i:])
	}
	return line, ""
}

// splitOptions takes the options off a line that does not start with a key
// type. They end at the first blank outside quotes; a backslash keeps a quote
// from closing.
func splitOptions(line string) (options []string, rest string) {
	if kind, _ := cutField(line); isSSHType(kind) {
		return nil, line
	}
	start, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line) && line[i+1] == '"':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == ' ' || c == '\t'):
			options = append(options, printable(line[start:i]))
			if start = i + 1; c != ',' {
				return options, line[start:]
			}
		}
	}
	return nil, ""
}

// isKnownHosts and isAuthorizedKeys go by the names of ssh(1) and sshd(8),
// with the suffixes of copies ("known_hosts.old", "authorized_keys2").
func isKnownHosts(name string) bool {
	return strings.HasPrefix(name, "known_hosts") || strings.HasPrefix(name, "ssh_known_hosts")
}

func isAuthorizedKeys(name string) bool { return strings.HasPrefix(name, "authorized_keys") }

// hasKeyLine says that a line starts with a key type and what follows can be
// the base64 of a key, whose first length is always below 256.
func hasKeyLine(data []byte) bool {
	for len(data) > 0 {
		i := bytes.Index(data, []byte(" AAAA"))
		if i < 0 {
			return false
		}
		line := data[bytes.LastIndexByte(data[max(0, i-64):i], '\n')+1+max(0, i-64) : i]
		if isSSHType(string(bytes.TrimSpace(line))) {
			return true
		}
		data = data[i+5:]
	}
	return false
}
