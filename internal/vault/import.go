// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// The formats of what people keep secrets in.
const (
	FormatCSV        = "csv"
	FormatEnv        = "env"
	FormatKubernetes = "kubernetes"
	FormatSystemd    = "systemd"
	FormatKV         = "kv"
)

// Formats returns the formats.
func Formats() []string {
	return []string{FormatCSV, FormatEnv, FormatKubernetes, FormatSystemd, FormatKV}
}

// A Source is where secrets are brought from.
type Source struct {
	Format string
	Path   string   // a file; for systemd a directory
	Only   []string // names of entries: the last part of their accounts; nil is all
	// Like says what the source leaves open: the customer, the system, the kind, the holder.
	Like Entrust
}

// maxImport bounds a file that secrets are brought from, in bytes.
const maxImport = 64 << 20

// An Old is a place that an entry was brought from.
type Old struct {
	Name
	Holder string `json:"holder,omitempty" doc:"whom it names as the holder"`
	Where  string `json:"where" doc:"what to clean"`
	Kept   bool   `json:"kept" doc:"the vault had it before"`
}

// read returns the entries of a source with a value. A file that is not there has none.
func (s Source) read() ([]Entrust, error) {
	var list []Entrust
	var err error
	switch s.Format {
	case FormatSystemd:
		list, err = readDirectory(s.Path, s.Like)
	case FormatCSV, FormatEnv, FormatKubernetes, FormatKV:
		var text []byte
		if text, err = readBounded(s.Path); err != nil {
			break
		}
		read := map[string]func(string, []byte, Entrust) ([]Entrust, error){FormatCSV: readCSV, FormatEnv: readEnv, FormatKubernetes: readKubernetes, FormatKV: readKV}[s.Format]
		list, err = read(s.Path, text, s.Like)
		clear(text)
	default:
		err = fmt.Errorf("%w: there is no format %q: it is one of %s", tallystick.ErrInvalid, s.Format, strings.Join(Formats(), ", "))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", s.Path, err)
	}
	return slices.DeleteFunc(list, func(e Entrust) bool {
		return e.Value.IsZero() || s.Only != nil && !slices.Contains(s.Only, e.Account[strings.LastIndexByte(e.Account, '/')+1:])
	}), nil
}

// readBounded reads a file of at most maxImport bytes.
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() // nothing was written
	text, err := io.ReadAll(io.LimitReader(file, maxImport+1))
	if err == nil && len(text) > maxImport {
		err = fmt.Errorf("%w: it has more than %d bytes", tallystick.ErrInvalid, maxImport)
	}
	return text, err
}

// Import takes in what a source has and the vault has not, and returns all entries that
// are to be taken out of there. What is kept already stays as it is: a new value comes
// by Entrust alone.
func (v *Vault) Import(ctx context.Context, actor gate.Actor, s Source) ([]Old, error) {
	if err := v.Gate.Check(ctx, actor, gate.EntrustSecret, "vault: import from "+s.Path); err != nil {
		return nil, err
	}
	list, err := s.read()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, problem.With(fmt.Errorf("%w: %s has no secrets", tallystick.ErrNotFound, s.Path), "see whether the path, the format and --only are right")
	}
	old := make([]Old, len(list))
	var fresh []Entrust
	for i, e := range list {
		kept, err := v.keeps(ctx, e.Name)
		if err != nil {
			return nil, err
		}
		if old[i] = (Old{e.Name, e.Holder, e.Origin, kept}); !kept {
			fresh = append(fresh, e)
		}
	}
	if len(fresh) > 0 {
		if n, err := v.EntrustAll(ctx, actor, s.Path, fresh); err != nil {
			return nil, fmt.Errorf("%d of %d were taken in: %w", n, len(fresh), err)
		}
	}
	return old, nil
}

// Left returns which entries a source still has of what the vault keeps: nothing when
// it is clean. No value is compared, so that nobody learns one by guessing.
func (v *Vault) Left(ctx context.Context, actor gate.Actor, s Source) ([]Old, error) {
	if err := v.Gate.Check(ctx, actor, gate.EntrustSecret, "vault: look whether "+s.Path+" is clean"); err != nil {
		return nil, err
	}
	list, err := s.read()
	if err != nil {
		return nil, err
	}
	var left []Old
	for _, e := range list {
		kept, err := v.keeps(ctx, e.Name)
		if err != nil {
			return nil, err
		}
		if kept {
			left = append(left, Old{e.Name, e.Holder, e.Origin, true})
		}
	}
	return left, nil
}

// keeps says whether the vault has a secret of a name.
func (v *Vault) keeps(ctx context.Context, n Name) (bool, error) {
	if err := n.check(); err != nil {
		return false, err
	}
	s, err := v.DB.EntrustedFor(ctx, n.Customer, n.System, n.Account, n.Kind)
	if errors.Is(err, tallystick.ErrNotFound) {
		return false, nil
	}
	return err == nil && s.Destroyed.IsZero(), err
}
