// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"

	"github.com/tallystick/tallystick"
)

// entraLastUseFormat is what Entra ID remembers of the last use of each credential, also
// where nobody keeps logs ("appCredentialSignInActivity resource type", beta). It is one
// sign-in of all that there were, under the id that the log of sign-ins has for it.
func entraLastUseFormat() Format {
	return Format{
		Name: "entra-last-use", layout: byElement,
		is:     func(record string) bool { return hasMembers(record, "keyId", "credentialOrigin", "signInActivity") },
		reader: stateless(readEntraLastUse),
	}
}

func readEntraLastUse(record string, sink Sink) error {
	var key, app, resource, tenant, last, request string
	c := cursor{text: record}
	err := c.object(func(name string) error {
		switch name {
		case "keyId":
			return c.into(&key)
		case "appId":
			return c.into(&app)
		case "resourceId":
			return c.into(&resource)
		case "tenantId": // the driver that asked adds it
			return c.into(&tenant)
		case "signInActivity":
			if c.space() == '{' {
				return c.object(func(name string) error {
					switch name {
					case "lastSignInDateTime":
						return c.into(&last)
					case "lastSignInRequestId":
						return c.into(&request)
					}
					return c.skip()
				})
			}
		}
		return c.skip()
	})
	if err == nil {
		err = c.end()
	}
	if err != nil || last == "" { // it was never used
		return err
	}
	at, err := readTime(last)
	if err != nil {
		return err
	}
	if isNone(key) || isNone(request) {
		return errors.New("expected the id of a key, and that of the request in which it signed in last")
	}
	u := tallystick.Use{
		ID: request, Source: "entra", Side: tallystick.SideRelying, Level: tallystick.LevelToken, Time: at, Until: at, Count: 1,
		Credential: []string{tallystick.NormalName("entra-key:" + key)}, Outcome: tallystick.OutcomeSuccess, Operation: "sign-in",
		Detail: "the last use that the directory remembers of this key of " + app, IDs: tallystick.UseIDs{Request: request},
	}
	if tenant != "" {
		u.RelyingParty = "entra:" + tenant + "/" + resource
	}
	sink.Use(&u)
	return nil
}
