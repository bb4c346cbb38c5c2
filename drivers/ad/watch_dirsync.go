// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

// The flags of DirSync ([MS-ADTS] section 3.1.1.3.4.1.3).
const (
	syncOwn = 0x1 // LDAP_DIRSYNC_OBJECT_SECURITY
	// syncValues is LDAP_DIRSYNC_INCREMENTAL_VALUES, 0x80000000. The number is signed: as a
	// positive one it takes five bytes, which Windows refuses.
	syncValues = -0x80000000

	syncBytes = 1 << 20 // of one answer, as far as a domain controller heeds it
	// maxAnswers bounds the answers of a round, so that a cookie which leads round in a circle
	// is left; the next round goes on.
	maxAnswers = 100_000
)

// watchedFilter finds what says who gets in: accounts, groups and trusts.
const watchedFilter = "(|(objectClass=user)(objectClass=group)(objectClass=msDS-GroupManagedServiceAccount)(objectClass=trustedDomain))"

// byDirSync reads by DirSync.
func (w *watching) byDirSync(ctx context.Context) error {
	for answers := 0; answers < maxAnswers; answers++ {
		more, err := w.syncOnce(ctx)
		if err != nil {
			return w.syncFailed(ctx, err)
		}
		if !more {
			return nil
		}
	}
	return fmt.Errorf("%w: %s says again and again that there is more", tallystick.ErrUnavailable, w.Session.Host)
}

// A syncError is of DirSync itself, and not of what came of it.
type syncError struct{ error }

func (e *syncError) Unwrap() error { return e.error }

// syncFailed goes on in another way where DirSync is denied, and anew where its cookie is not taken.
func (w *watching) syncFailed(ctx context.Context, err error) error {
	var failed *syncError
	var said *ldap.Error
	if !errors.As(err, &failed) || ctx.Err() != nil || !errors.As(err, &said) || said.ResultCode >= ldap.ErrorNetwork {
		return err
	}
	switch said.ResultCode { // these pass by themselves
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded:
		return err
	}
	switch {
	case len(w.at.Cookie) > 0:
		w.at.Cookie = nil
		w.Sink.Trouble(driver.WatchTrouble{Log: ldapdir.Log, Err: fmt.Errorf("%w: the domain controller does not know how far it was read: everything is read again", tallystick.ErrUnavailable)})
		return w.byDirSync(ctx)
	case !w.at.Own:
		w.at.Own = true
		return w.byDirSync(ctx)
	case w.Method == methodAuto:
		w.at.Own, w.at.Method = false, methodUSN
		return w.byUSN(ctx)
	}
	return err
}

// syncOnce reads one answer, and says whether there is more.
func (w *watching) syncOnce(ctx context.Context) (more bool, err error) {
	flags := int64(syncValues)
	if w.at.Own {
		flags |= syncOwn
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	whole := len(w.at.Cookie) == 0
	// The library keeps a cookie that is in a request, so that each needs one of its own.
	request := ldap.NewSearchRequest(w.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, watchedFilter, watched(), nil)
	answer := w.Session.DirSyncAsync(ctx, request, 64, flags, syncBytes, w.at.Cookie)
	var changed []*ldap.Entry
	for answer.Next() {
		e := answer.Entry()
		switch {
		case e == nil:
		case whole:
			if err := w.saw(ctx, e, true); err != nil {
				return false, err
			}
		default:
			changed = append(changed, e)
		}
	}
	if err := answer.Err(); err != nil {
		return false, &syncError{ldapdir.Answered("couldn't read the changes of "+w.Session.Host, err)}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	control, ok := ldap.FindControl(answer.Controls(), ldap.ControlTypeDirSync).(*ldap.ControlDirSync)
	if !ok || len(control.Cookie) == 0 {
		return false, fmt.Errorf("%w: %s answered without saying how far it was read", tallystick.ErrUnavailable, w.Session.Host)
	}
	for _, e := range changed {
		if err := w.saw(ctx, e, false); err != nil {
			return false, err
		}
	}
	w.at.Cookie = control.Cookie
	return control.Flags != 0, nil
}
