// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	keystore "github.com/pavlo-v-chernykh/keystore-go/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// added begins the alias of every entry that Trust has made.
const added = "tallystick-"

// A truststore that is open, with what Block has taken out of it.
type opened struct {
	store      keystore.KeyStore
	passphrase string
	blocked    map[string][]byte // by alias
}

// openTrusted reads the truststore.
func (d *Door) openTrusted(ctx context.Context, h driver.Host) (opened, error) {
	if d.Role != truststore {
		return opened{}, invalid("this keystore holds a credential: set role to truststore for one that says who gets in")
	}
	content, err := h.ReadFile(ctx, d.Path, maxFile)
	if err != nil {
		return opened{}, err
	}
	if !isJKS(content) {
		return opened{}, invalid("%s is no JKS: convert it with keytool -importkeystore -deststoretype JKS", d.Path)
	}
	passphrase, _, err := d.secrets(ctx, h)
	if err != nil {
		return opened{}, err
	}
	o := opened{passphrase: passphrase, blocked: map[string][]byte{}}
	if o.store, err = openJKS(content, passphrase); err != nil {
		return opened{}, err
	}
	text, err := h.ReadFile(ctx, d.record(), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err == nil {
		if err = json.Unmarshal(text, &o.blocked); err != nil {
			err = fmt.Errorf("%w: %s: %w", tallystick.ErrDamaged, d.record(), err)
		}
	}
	return o, err
}

// record is the path of the list of what Block has taken out, for Lift.
func (d *Door) record() string {
	directory, base := filepath.Split(d.Path)
	return filepath.Join(directory, "."+base+".tallystick-blocked")
}

func (d *Door) lookTrusted(ctx context.Context, h driver.Host, view *driver.View) error {
	o, err := d.openTrusted(ctx, h)
	if errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, fs.ErrNotExist) {
		view.Notes = append(view.Notes, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	all := trusted(o.store)
	for _, alias := range slices.Sorted(maps.Keys(all)) {
		c, err := x509.ParseCertificate(all[alias])
		if err == nil && c.IsCA {
			view.Authorities = append(view.Authorities, c.Raw)
		} else if err == nil {
			view.Accepts = append(view.Accepts, driver.Accepted{Name: certName(c.Raw), At: d.Path + "#" + alias})
		}
	}
	slices.SortFunc(view.Authorities, bytes.Compare)
	slices.SortFunc(view.Accepts, func(a, b driver.Accepted) int { return strings.Compare(a.Name+a.At, b.Name+b.At) })
	for _, der := range o.blocked {
		view.Denies = append(view.Denies, certName(der))
	}
	slices.Sort(view.Denies)
	return nil
}

func certName(der []byte) string { return "cert-sha256:" + string(tallystick.FingerprintOf(der)) }

// Trust adds an entry, or takes away one that it has added.
func (d *Door) Trust(ctx context.Context, r driver.TrustRequest) (driver.Changed, error) {
	if len(r.New.Chain) == 0 {
		return driver.Changed{}, invalid("a truststore lets in certificates alone")
	}
	o, err := d.openTrusted(ctx, r.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	all, der := trusted(o.store), r.New.Chain[0]
	alias := added + string(tallystick.FingerprintOf(der))[:16]
	switch _, there := all[alias]; {
	case r.Withdraw && there:
		o.store.DeleteEntry(alias)
	case !r.Withdraw && !lets(all, r.Like):
		return driver.Changed{}, fmt.Errorf("%w: the truststore does not let in whoever the new one should be like", tallystick.ErrNotFound)
	case !r.Withdraw && !holds(all, der):
		if err := trust(o.store, alias, der, r.Now()); err != nil {
			return driver.Changed{}, err
		}
	}
	return d.write(ctx, r.Host, o)
}

// lets says whether a credential gets in: by its own entry, or by one of a CA above it.
func lets(all map[string][]byte, p driver.Public) bool {
	if len(p.Chain) == 0 {
		return false
	}
	return holds(all, p.Chain[0]) || authority(all, p) != ""
}

func holds(all map[string][]byte, der []byte) bool {
	for _, other := range all {
		if bytes.Equal(other, der) {
			return true
		}
	}
	return false
}

// authority returns the alias of a CA that vouches for a credential, "" where there is none.
func authority(all map[string][]byte, p driver.Public) string {
	var chain []*x509.Certificate
	for _, der := range p.Chain {
		if c, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, c)
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(all)) {
		ca, err := x509.ParseCertificate(all[alias])
		if err != nil || !ca.IsCA {
			continue
		}
		if slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return c.CheckSignatureFrom(ca) == nil }) {
			return alias
		}
	}
	return ""
}

// Block takes the entries of a certificate out, or puts them back.
func (d *Door) Block(ctx context.Context, r driver.BlockRequest) (driver.Blocked, error) {
	if len(r.Old.Chain) == 0 {
		return driver.Blocked{}, invalid("a truststore lets in certificates alone")
	}
	o, err := d.openTrusted(ctx, r.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	der := r.Old.Chain[0]
	all := trusted(o.store)
	if r.Lift {
		err = o.lift(der, r.Now())
	} else if alias := authority(all, r.Old); alias != "" {
		err = invalid("the certificate gets in by the CA with the alias %q: a truststore cannot refuse one certificate of a CA. Take the CA out, or have the program read revocation lists", alias)
	} else {
		for alias, other := range all {
			if bytes.Equal(other, der) {
				o.blocked[alias] = other
				o.store.DeleteEntry(alias)
			}
		}
	}
	if err != nil {
		return driver.Blocked{}, err
	}
	changed, err := d.write(ctx, r.Host, o)
	blocked := driver.Blocked{Changed: changed}
	if err == nil && changed.Changed && !r.Lift && !d.ReloadCloses {
		blocked.Left = []string{"connections that were open before may go on: the reload command is not said to end them (option reload-closes)"}
	}
	return blocked, err
}

// lift puts back what Block has taken out.
func (o *opened) lift(der []byte, now time.Time) error {
	for alias, other := range o.blocked {
		if bytes.Equal(other, der) {
			if err := trust(o.store, alias, der, now); err != nil {
				return err
			}
			delete(o.blocked, alias)
		}
	}
	return nil
}

// write writes the truststore where it has changed, the list of what is blocked before it,
// and has the program read it.
func (d *Door) write(ctx context.Context, h driver.Host, o opened) (driver.Changed, error) {
	content, err := stored(o.store, o.passphrase)
	if err != nil {
		return driver.Changed{}, err
	}
	files := []installing.File{{Path: d.Path, Content: content, Mode: 0o644}}
	if _, err := h.Stat(ctx, d.record()); err == nil || len(o.blocked) > 0 {
		text, err := json.Marshal(o.blocked)
		if err != nil {
			return driver.Changed{}, fmt.Errorf("couldn't write what is blocked: %w", err)
		}
		files = append([]installing.File{{Path: d.record(), Content: text, Mode: 0o600}}, files...)
	}
	change := installing.Change{
		Host: h, Files: files, Journal: installing.JournalFor(d.Path), Patience: d.Timeout,
		Check: installing.Command(h, "check", d.check, d.Timeout), Reload: installing.Command(h, "reload", d.reload, d.Timeout),
	}
	if differs, err := change.Differs(ctx); err != nil || !differs {
		return driver.Changed{}, err
	}
	how, err := change.Do(ctx)
	if err != nil {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: how, Detail: "wrote " + d.Path}, nil
}
