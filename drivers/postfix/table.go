// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tallystick/tallystick/driver"
)

// maxTable bounds the source of a table, in bytes.
const maxTable = 16 << 20

// A table is what postconf writes as "type:path" (postmap(1)).
type table struct{ kind, path string }

func (t table) String() string { return t.kind + ":" + t.path }

// indexed are the types whose source postmap turns into a file that Postfix reads,
// with the ending of that.
var indexed = map[string]string{"hash": ".db", "btree": ".db", "cdb": ".cdb", "lmdb": ".lmdb"}

// live are the types in which a process sees a change in the middle of a session.
// Others are opened once: a process that finds that the file has changed ends before it
// takes its next client, and a session that goes on has the old table.
func (t table) live() bool { return t.kind == "lmdb" }

// parseTable reads "type:path", if it is of a type whose source can be edited here.
func parseTable(text string) (table, bool) {
	kind, path, ok := strings.Cut(strings.Trim(text, "{},"), ":")
	if _, is := indexed[kind]; !ok || !is && kind != "texthash" || !strings.HasPrefix(path, "/") {
		return table{}, false
	}
	return table{kind, path}, true
}

// read returns the source of a table, empty where there is none yet.
func (t table) read(ctx context.Context, h driver.Host) ([]byte, error) {
	text, err := h.ReadFile(ctx, t.path, maxTable)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("couldn't read the table %s: %w", t, err)
	}
	return text, nil
}

// An entry is a logical line of a table (postmap(1)): lines that begin with white space
// belong to the one before, and those that begin with # are comments, wherever they are.
type entry struct {
	key, value  string
	first, last int // lines, from 0
}

func entries(text []byte) []entry {
	var all []entry
	for n, line := range strings.Split(string(text), "\n") {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(all) > 0 {
				before := &all[len(all)-1]
				before.value, before.last = strings.TrimSpace(before.value+" "+trimmed), n
			}
			continue
		}
		key, value := trimmed, ""
		if i := strings.IndexAny(trimmed, " \t"); i >= 0 {
			key, value = trimmed[:i], strings.TrimSpace(trimmed[i:])
		}
		all = append(all, entry{key, value, n, n})
	}
	return all
}

// lookup returns the entry of a key. Tables of these types do not tell the case of
// letters apart, and the first entry counts.
func lookup(text []byte, key string) (entry, bool) {
	for _, e := range entries(text) {
		if strings.EqualFold(e.key, key) {
			return e, true
		}
	}
	return entry{}, false
}

// Comments by which later calls know what earlier ones did.
const (
	addedMark   = "# added by tallystick: "   // and the key of the entry in the next line
	blockedMark = "# blocked by tallystick: " // and the entry that stood here
)

// add puts an entry at the end, below a comment that says whose it is.
func add(text []byte, key, value string) []byte {
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, '\n')
	}
	return fmt.Appendf(text, "%s%s\n%s %s\n", addedMark, key, key, value)
}

// withdraw takes out the entry of a key that add has put in, and no other.
func withdraw(text []byte, key string) []byte {
	lines := strings.Split(string(text), "\n")
	var kept []string
	for i := 0; i < len(lines); i++ {
		if strings.EqualFold(lines[i], addedMark+key) {
			if i+1 < len(lines) && (starts(lines[i+1], key) || starts(lines[i+1], blockedMark+key)) {
				i++
			}
			continue
		}
		kept = append(kept, lines[i])
	}
	return []byte(strings.Join(kept, "\n"))
}

// starts says whether a line begins with words, ended by white space.
func starts(line, words string) bool {
	return len(line) > len(words) && strings.EqualFold(line[:len(words)], words) && (line[len(words)] == ' ' || line[len(words)] == '\t')
}

// silence turns every entry of a key into a comment, in its place.
func silence(text []byte, key string) []byte {
	lines := strings.Split(string(text), "\n")
	var kept []string
	next := 0
	for _, e := range entries(text) {
		if strings.EqualFold(e.key, key) {
			kept = append(append(kept, lines[next:e.first]...), blockedMark+e.key+" "+e.value)
			next = e.last + 1
		}
	}
	return []byte(strings.Join(append(kept, lines[next:]...), "\n"))
}

// restore undoes silence.
func restore(text []byte, key string) []byte {
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if starts(line, blockedMark+key) {
			lines[i] = line[len(blockedMark):]
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// prints returns the fingerprints by which Postfix knows a certificate
// (postconf(5), smtpd_tls_fingerprint_digest): that of itself, and that of its public key.
func prints(digest string, p driver.Public) (certificate, key string, err error) {
	c, err := p.Leaf()
	if err != nil {
		return "", "", err
	}
	sum := func(der []byte) []byte { s := sha256.Sum256(der); return s[:] }
	switch digest {
	case "sha256":
	case "sha1":
		sum = func(der []byte) []byte { s := sha1.Sum(der); return s[:] }
	case "sha512":
		sum = func(der []byte) []byte { s := sha512.Sum512(der); return s[:] }
	case "md5":
		sum = func(der []byte) []byte { s := md5.Sum(der); return s[:] }
	default:
		return "", "", invalid("smtpd_tls_fingerprint_digest is %q: set it to sha256", digest)
	}
	return colons(sum(c.Raw)), colons(sum(c.RawSubjectPublicKeyInfo)), nil
}

// colons writes a sum as Postfix does: 0A:1B:...
func colons(sum []byte) string {
	return strings.ReplaceAll(strings.ToUpper(fmt.Sprintf("% x", sum)), " ", ":")
}
