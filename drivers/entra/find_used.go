// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tallystick/tallystick"
)

// usedPlace is what stands behind a tenant where it could not be read which keys were used.
const usedPlace = "/appCredentialSignInActivities"

// usedKeys reads by which keys applications have signed in ("appCredentialSignInActivity resource
// type", beta). Of an application of another tenant nothing else tells them.
func (e *Entra) usedKeys(ctx context.Context, l *survey) error {
	if !e.Used {
		return nil
	}
	err := l.list(ctx, lists[logLastUse].path, nil, func(element json.RawMessage) error {
		var a struct {
			Application string `json:"appId"`
			Key         string `json:"keyId"`
		}
		if err := json.Unmarshal(element, &a); err != nil {
			return fmt.Errorf("%w: an activity that is not as documented", tallystick.ErrInvalid)
		}
		application, notApplication := guid(a.Application)
		key, notKey := guid(a.Key)
		if notApplication == nil && notKey == nil {
			l.used[application] = append(l.used[application], key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("couldn't read by which keys applications have signed in: %w", err)
	}
	return nil
}

// foreignKeys reports the keys by which an application of another tenant has signed in.
func (l *survey) foreignKeys(place tallystick.Place, o *directoryObject, facts tallystick.EntraFacts) error {
	if facts.Home == "" {
		return nil
	}
	for _, key := range l.used[o.AppID] {
		if err := l.saw(place, named("entra-key:"+key, o.DisplayName, nil, nil), with(facts, formKey, key)); err != nil {
			return err
		}
	}
	return nil
}
