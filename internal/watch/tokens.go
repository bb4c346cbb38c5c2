// SPDX-License-Identifier: Apache-2.0

package watch

import "github.com/tallystick/tallystick"

// tokens remembers whose the tokens are that holders received lately: those who
// call with one often say nothing else of whom they are. The ledger knows of all.
type tokens struct {
	young, old map[string]*used // by token id in its normal form
}

// maxTokens bounds each of the two maps.
const maxTokens = 1 << 18

func (t *tokens) put(uti string, one *used) {
	if t.young == nil || len(t.young) >= maxTokens {
		t.young, t.old = make(map[string]*used, 1024), t.young
	}
	t.young[uti] = one
}

// get returns whose a token is; nil is not known here.
func (t *tokens) get(uti string) *used {
	one, ok := t.young[uti]
	if !ok {
		if one, ok = t.old[uti]; ok {
			t.put(uti, one)
		}
	}
	if one == nil {
		return nil
	}
	return one.now()
}

// isWeak says whether a record names the application and not the key.
func isWeak(u *tallystick.Use) bool {
	for _, name := range u.Credential {
		if len(name) < len(weakName) || name[:len(weakName)] != weakName {
			return false
		}
	}
	return true
}

const weakName = "account:entra-app/"

// ownerOf returns whose the use of a token is that names nobody.
func (w *Watch) ownerOf(u *tallystick.Use) *used {
	if u.IDs.UTI != "" {
		if one := w.tokens.get(tallystick.NormalUTI(u.IDs.UTI)); one != nil {
			return one
		}
	}
	one, ok := w.names[nameless]
	if !ok {
		one = w.add(nameless, nil)
	}
	return one.now()
}
