// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// Words splits a command of an option into its words, at blanks that are not between
// single or double quotes. Nothing else has a meaning: there is no shell. The first word is
// an absolute path, or a name. Errors are ErrInvalid.
func Words(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	began := false
	for _, r := range command {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, began = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if began {
				words = append(words, word.String())
			}
			word.Reset()
			began = false
		default:
			word.WriteRune(r)
			began = true
		}
	}
	if quote != 0 {
		return nil, invalid("the command %q lacks a closing %c", command, quote)
	}
	if began {
		words = append(words, word.String())
	}
	if len(words) > 0 && (words[0] == "" || strings.Contains(words[0], "/") && !filepath.IsAbs(words[0])) {
		return nil, invalid("the command %q begins neither with an absolute path nor with a name", command)
	}
	return words, nil
}

// Command makes a step of words: it runs them, and is nil where there are none. The words are
// named in errors by what.
func Command(h driver.Host, what string, words []string, timeout time.Duration) func(context.Context) error {
	if len(words) == 0 {
		return nil
	}
	return func(ctx context.Context) error {
		output, err := h.Run(ctx, driver.Command{Args: words, Timeout: timeout})
		if err == nil && output.Exit != 0 {
			err = fmt.Errorf("%s ended with exit status %d: %s", words[0], output.Exit, Said(output))
		}
		if err != nil {
			return fmt.Errorf("the command of option %s failed: %w", what, err)
		}
		return nil
	}
}

// Listeners reads listeners as options name them: "https://www.example.com:443?sni=x&path=/y".
// The scheme is the protocol, "sni" the name that is asked for, and the rest are details. A socket is
// "tls:/run/x.sock". Errors are ErrInvalid.
func Listeners(texts []string) ([]driver.Listener, error) {
	var all []driver.Listener
	for _, text := range texts {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme == "" || u.User != nil {
			return nil, invalid("%q is no listener such as tls://www.example.com:443", text)
		}
		l := driver.Listener{Protocol: u.Scheme, Address: u.Host}
		if u.Host == "" && filepath.IsAbs(u.Path) {
			l.Address = u.Path
		} else if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" || u.Path != "" {
			return nil, invalid("the listener %q is not a scheme, a host and a port, such as tls://www.example.com:443", text)
		}
		for name, values := range u.Query() {
			if name == "sni" {
				l.ServerName = values[0]
				continue
			}
			if l.Details == nil {
				l.Details = map[string]string{}
			}
			l.Details[name] = values[0]
		}
		all = append(all, l)
	}
	return all, nil
}

// CheckPath says what is wrong with the value of an option that is the path of a file: it is
// absolute and in its shortest form, so that it can be compared with others. "" is none.
func CheckPath(option, value string) error {
	if value != "" && (!path.IsAbs(value) || path.Clean(value) != value) {
		return invalid("option %s: %q is not an absolute path in its shortest form", option, value)
	}
	return nil
}

// Paths names files for people.
func Paths(files []File) string {
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	return strings.Join(all, ", ")
}
