// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// entraKeysFormat is what a watcher of a tenant found changed of the keys of an application, by
// delta queries of Microsoft Graph. It knows what there was before, and not who changed it.
func entraKeysFormat() Format {
	return Format{
		Name: "entra-keys", layout: byLine,
		is: func(record string) bool {
			return hasMembers(record, "type", "tenantId", "object", "existing") && strings.Contains(record, `"entra-keys"`)
		},
		reader: stateless(readEntraKeys),
	}
}

type entraKeys struct {
	Type, ID, Time, TenantID   string
	Object, AppID, DisplayName string
	Added, Removed             []entraKey
	Existing                   int
}

type entraKey struct{ KeyID, X5T, Type, DisplayName string }

// names are those that logs have for the key.
func (k entraKey) names() []string {
	names := []string{tallystick.NormalName("entra-key:" + k.KeyID)}
	if k.X5T != "" {
		names = append(names, tallystick.NormalName("x5t:"+k.X5T))
	}
	return names
}

func readEntraKeys(record string, sink Sink) error {
	if err := shallow(record); err != nil {
		return err
	}
	var r entraKeys
	if json.Unmarshal([]byte(record), &r) != nil || r.ID == "" || r.Object == "" || r.TenantID == "" {
		return errors.New("expected a change of the keys of an object of a tenant, with id, tenantId and object")
	}
	at, err := readTime(r.Time)
	if err != nil {
		return err
	}
	e := entraEvent{source: "entra-keys", id: r.ID, tenant: r.TenantID, time: at, operation: "keys changed", detail: "noticed then; who did it is in the audits"}
	for _, side := range []struct {
		kind tallystick.ChangeKind
		keys []entraKey
	}{{tallystick.ChangeCredentialAdded, r.Added}, {tallystick.ChangeCredentialRemoved, r.Removed}} {
		for _, key := range side.keys {
			c := e.to(e.change(side.kind), "entra-app", r.Object, r.DisplayName, r.AppID)
			c.Existing, c.Credential = r.Existing, key.names()
			text := strings.TrimSpace(key.Type + " " + key.DisplayName)
			if c.After = text; side.kind == tallystick.ChangeCredentialRemoved {
				c.Before, c.After = text, ""
			}
			tell(sink, c)
		}
	}
	return nil
}
