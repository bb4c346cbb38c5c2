// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"strconv"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver/ldapdir"
)

// controlShowDeleted has a search find what was deleted ([MS-ADTS] section 3.1.1.3.4.1.14).
const controlShowDeleted = "1.2.840.113556.1.4.417"

// byUSN reads by the update sequence numbers of one domain controller. They are of one database:
// after it was restored from a backup, and at another domain controller, everything is read again.
func (w *watching) byUSN(ctx context.Context) error {
	filter, controls := watchedFilter, []ldap.Control(nil)
	if w.at.Based && w.at.Invocation == w.invocation && w.highest >= w.at.USN {
		filter = "(&(uSNChanged>=" + strconv.FormatUint(w.at.USN+1, 10) + ")" + watchedFilter + ")"
		controls = append(controls, ldap.NewControlString(controlShowDeleted, true, ""))
	}
	return w.Session.Each(ctx, ldapdir.Query{
		Base: w.base, Scope: ldap.ScopeWholeSubtree, Filter: filter, Attributes: append(watched(), "replPropertyMetaData"), Controls: controls,
	}, func(e *ldap.Entry) error { return w.sawWhole(ctx, e, true) })
}
