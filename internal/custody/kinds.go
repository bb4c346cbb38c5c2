// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// The kinds of wrapping keys.
const (
	KindFile       = "file"
	KindPassphrase = "passphrase"
	KindTPM        = "tpm"
	KindPKCS11     = "pkcs11"
	KindTransit    = "transit"
)

// A Kind says where a wrapping key of it is.
type Kind struct {
	Name    string   `json:"name"`
	About   string   `json:"about"`
	Options []Option `json:"options"`
	Built   bool     `json:"built"` // whether this program can use it
}

// An Option is what a kind takes, by name.
type Option struct {
	Name    string `json:"name"`
	Help    string `json:"help"`
	Default string `json:"default,omitempty"`
}

// Kinds returns all kinds, the default first.
func Kinds() []Kind {
	return []Kind{
		{KindFile, "32 random bytes in the file that custody.file names, outside the data directory", []Option{}, true},
		{KindPassphrase, "derived from the passphrase in the file that custody.file names, or that is asked for", []Option{}, true},
		{KindTPM, "sealed by the TPM 2.0 of this machine", []Option{
			{"device", "the device, or the unix socket of an emulator", "/dev/tpmrm0"},
			{"parent", "the storage key: ecc, rsa, or the handle of a persistent one", ParentECC},
		}, true},
		{KindPKCS11, "in a PKCS #11 token, where the keys of CAs can be made as well", []Option{
			{"module", "the library of the token", ""},
			{"token", "the label of the token", ""},
			{"pin_file", "a file with the PIN of the user", ""},
			{"key", "the label of the AES key that wraps", "tallystick"},
		}, builtPKCS11},
		{KindTransit, "in the transit engine of OpenBao or Vault", []Option{
			{"address", "such as https://bao.example.com:8200", ""},
			{"mount", "where the engine is", "transit"},
			{"key", "the name of its key, of type aes256-gcm96", ""},
			{"token_file", "a file with a token, read for each request", ""},
			{"role_id", "in place of it: a role of AppRole", ""},
			{"secret_id_file", "a file with the secret id of that role", ""},
			{"approle", "where that method is", "approle"},
			{"namespace", "of Vault Enterprise or OpenBao", ""},
			{"ca_file", "the CA of the server, in PEM (default those of the system)", ""},
		}, true},
	}
}

// A Setting says where a wrapping key is, as the configuration does.
type Setting struct {
	Kind    string // "" is file
	File    string // of file and passphrase; "" is their default
	Options map[string]string
	Data    string // the data directory, which is no place for a wrapping key
	Getenv  func(string) string
	// Ask asks a person for a passphrase, which the caller clears; for a new one, which
	// they may mistype, more than once. It is nil where there is nobody.
	Ask func(fresh bool) ([]byte, error)
	// Create says that a key that is missing may be made: there is none on record
	// that it should be.
	Create bool
	// Known are the wrapping keys on record that it may be; with none it is a new one.
	Known []store.WrappingKey
}

// Wrapper returns the wrapping key of a setting. One of kind pkcs11 is a KeyMaker.
func (s Setting) Wrapper(ctx context.Context) (Wrapper, error) {
	if s.Kind == "" {
		s.Kind = KindFile
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	switch s.Kind {
	case KindPassphrase:
		return s.passphrase(ctx)
	case KindTPM:
		return NewTPM(s.option("device"), s.option("parent"), s.parameters())
	case KindPKCS11:
		return newPKCS11(pkcs11Options{Module: s.option("module"), Token: s.option("token"), PINFile: s.option("pin_file"), Key: s.option("key"), Data: s.Data})
	case KindTransit:
		return NewTransit(TransitOptions{Address: s.option("address"), Mount: s.option("mount"), Key: s.option("key"), Namespace: s.option("namespace"),
			CAFile: s.option("ca_file"), TokenFile: s.option("token_file"), RoleID: s.option("role_id"), SecretIDFile: s.option("secret_id_file"), AppRole: s.option("approle")})
	}
	path, err := s.path(CredentialName, "wrapping.key")
	if err != nil {
		return nil, err
	}
	return OpenFile(path, s.Data, s.Getenv("CREDENTIALS_DIRECTORY"), s.Create)
}

// check is ErrInvalid for a kind or an option that is not known.
func (s Setting) check() error {
	var names []string
	for _, kind := range Kinds() {
		names = append(names, kind.Name)
		if kind.Name != s.Kind {
			continue
		}
		for name, value := range s.Options {
			if !slices.ContainsFunc(kind.Options, func(o Option) bool { return o.Name == name }) {
				return fmt.Errorf("%w: custody of kind %s takes no option %q", tallystick.ErrInvalid, s.Kind, name)
			}
			if isPath(name) && value != "" && !filepath.IsAbs(value) {
				return fmt.Errorf("%w: option %s of custody: it is a path that begins with /", tallystick.ErrInvalid, name)
			}
		}
		return nil
	}
	return fmt.Errorf("%w: there is no custody of kind %q: it is one of %s", tallystick.ErrInvalid, s.Kind, strings.Join(names, ", "))
}

// isPath says whether an option is a path: it means the same wherever this runs, and
// a library is never looked for.
func isPath(option string) bool {
	return strings.HasSuffix(option, "_file") || option == "device" || option == "module"
}

// option returns an option, or its default.
func (s Setting) option(name string) string {
	if value := s.Options[name]; value != "" {
		return value
	}
	for _, kind := range Kinds() {
		for _, o := range kind.Options {
			if kind.Name == s.Kind && o.Name == name {
				return o.Default
			}
		}
	}
	return ""
}

// path returns the file of a setting: the one that it names, the one that systemd
// gives us, or the one of this name in the user's configuration.
func (s Setting) path(credential, name string) (string, error) {
	if s.File != "" {
		return s.File, nil
	}
	if dir := s.Getenv("CREDENTIALS_DIRECTORY"); filepath.IsAbs(dir) {
		path := filepath.Join(dir, credential)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	if name == "" {
		return "", nil
	}
	if dir := s.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tallystick", name), nil
	}
	if home := s.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "tallystick", name), nil
	}
	return "", fmt.Errorf("%w: there is no home directory for the wrapping key: name a file with custody.file", tallystick.ErrInvalid)
}

// PassphraseName is what systemd calls the file of a passphrase.
const PassphraseName = "tallystick.passphrase"

// passphrase returns the wrapping key of a passphrase: that one on record that it
// fits, or a new one.
func (s Setting) passphrase(ctx context.Context) (Wrapper, error) {
	text, err := s.readPassphrase()
	if err != nil {
		return nil, err
	}
	defer clear(text)
	wrong := error(nil)
	for _, row := range s.Known {
		if row.Kind != KindPassphrase {
			continue
		}
		p, err := NewPassphrase(slices.Clone(text), row.Parameters)
		if err == nil {
			err = fits(ctx, p, row)
		}
		if err == nil {
			return p, nil
		}
		wrong = err
	}
	if wrong != nil {
		return nil, wrong
	}
	return NewPassphrase(slices.Clone(text), "")
}

func (s Setting) readPassphrase() ([]byte, error) {
	path, err := s.path(PassphraseName, "")
	if err != nil {
		return nil, err
	}
	if path != "" {
		return ReadPassphrase(path, s.Data, s.Getenv("CREDENTIALS_DIRECTORY"))
	}
	if s.Ask == nil {
		return nil, fmt.Errorf("%w: the passphrase cannot be asked for here: name the file that holds it with custody.file", tallystick.ErrInvalid)
	}
	return s.Ask(!slices.ContainsFunc(s.Known, func(k store.WrappingKey) bool { return k.Kind == KindPassphrase }))
}

// parameters returns those of the key on record, the oldest of its kind.
func (s Setting) parameters() string {
	for _, row := range s.Known {
		if row.Kind == s.Kind {
			return row.Parameters
		}
	}
	return ""
}
