// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// An Exchange puts one credential in the place of another, for doors whose credential
// stands in files of a form that only the driver knows.
type Exchange struct {
	Request driver.InstallRequest
	// Read reads the credential that the files of a host hold, without its key where that cannot
	// be read or belongs to another. Errors that wrap fs.ErrNotExist or ErrInvalid mean that there
	// is none that could be kept.
	Read func(context.Context, driver.Host) (driver.Material, error)
	// Write makes the files of a credential, always at the same paths.
	Write         func(context.Context, driver.Material) ([]File, error)
	Check, Reload []string // commands; empty: there is none
	Timeout       time.Duration
	Listeners     []driver.Listener // that show it; none: nobody can see it
	Patience      time.Duration
}

// Do exchanges them, by a Change.
func (e Exchange) Do(ctx context.Context) (driver.Installed, error) {
	if err := CheckCertificate(e.Request.New, e.Request.Now()); err != nil {
		return driver.Installed{}, err
	}
	files, err := e.Write(ctx, e.Request.New)
	if err != nil {
		return driver.Installed{}, err
	}
	change := Change{
		Host: e.Request.Host, Files: files, Patience: e.Timeout + e.Patience,
		Check: Command(e.Request.Host, "check", e.Check, e.Timeout), Reload: Command(e.Request.Host, "reload", e.Reload, e.Timeout),
	}
	before, unfinished, err := change.Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	old, err := e.Read(ctx, before)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, tallystick.ErrInvalid) {
		return driver.Installed{}, err
	}
	there := old.Is(e.Request.New.Public) && old.Key != nil && slices.EqualFunc(old.Chain, e.Request.New.Chain, slices.Equal[[]byte])
	if there && !unfinished {
		change.Files = nil // in another form, perhaps, which is somebody's
		if shown, err := e.read(ctx); err != nil || shown != nil {
			return driver.Installed{Shown: shown}, err
		}
	}
	if err := Replaceable(e.Request, old); err != nil {
		return driver.Installed{}, err
	}
	var shown []driver.Shown
	if len(e.Listeners) > 0 {
		change.Arrived = func(ctx context.Context) error { shown, err = e.served(ctx, e.Request.New, e.Patience); return err }
		change.Returned = e.returned(ctx, old, unfinished)
	}
	how, err := change.Do(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	return driver.Installed{Changed: driver.Changed{Changed: len(how) > 0, How: how, Detail: e.detail(how, change.Files)}, Shown: shown}, nil
}

// returned waits until the old one is shown again. It is nil where it is not shown now, unless
// a call that was killed may be why.
func (e Exchange) returned(ctx context.Context, old driver.Material, unfinished bool) func(context.Context) error {
	if len(old.Chain) == 0 {
		return nil
	}
	if _, err := e.served(ctx, old, 0); err != nil && !unfinished {
		return nil
	}
	return func(ctx context.Context) error { _, err := e.served(ctx, old, e.Patience); return err }
}

// read says whether the system has read the new one, which stands in the files already:
// what it shows is not nil then.
func (e Exchange) read(ctx context.Context) ([]driver.Shown, error) {
	if len(e.Listeners) == 0 {
		return []driver.Shown{}, nil
	}
	if shown, err := e.served(ctx, e.Request.New, 0); err == nil {
		return shown, nil
	}
	return nil, ctx.Err()
}

func (e Exchange) served(ctx context.Context, m driver.Material, patience time.Duration) ([]driver.Shown, error) {
	return ServedEverywhere(ctx, e.Request.Host, e.Listeners, m.Public, patience, e.Request.Now)
}

// detail names the files and commands of a change.
func (e Exchange) detail(how []string, files []File) string {
	var texts []string
	if slices.Contains(how, "files") {
		for _, f := range files {
			texts = append(texts, "wrote "+f.Path)
		}
	}
	if slices.Contains(how, "reload") {
		texts = append(texts, "ran "+strings.Join(e.Reload, " "))
	}
	return strings.Join(texts, "; ")
}

// Replaceable looks that the certificate of a request is for all that the old one is for,
// and has the old one kept, without a key that is not its own: then a call was killed between
// two files. What is not there, or is the new one already, is not kept. Nothing has been
// changed when it fails.
func Replaceable(r driver.InstallRequest, old driver.Material) error {
	if len(old.Chain)+len(old.SSH)+len(old.Account) == 0 || old.Is(r.New.Public) {
		return nil
	}
	if len(old.Chain) > 0 {
		was, err := x509.ParseCertificate(old.Chain[0])
		if err != nil {
			return invalid("couldn't read the certificate that is replaced: %v", err)
		}
		if len(r.New.Chain) == 0 {
			return invalid("the new credential is no certificate, as the old one is")
		}
		next, err := x509.ParseCertificate(r.New.Chain[0])
		if err != nil {
			return invalid("couldn't read the new certificate: %v", err)
		}
		if err := Covers(next, was); err != nil {
			return err
		}
		if fits(old.Key, was.PublicKey) != nil {
			old.Key = nil
		}
	}
	if r.Keep == nil {
		return nil
	}
	if err := r.Keep(old); err != nil {
		return fmt.Errorf("couldn't keep what would be replaced: %w", err)
	}
	return nil
}
