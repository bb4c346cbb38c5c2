// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// graphActivityFormat is MicrosoftGraphActivityLogs, as diagnostic settings
// write them and as Log Analytics gives them. Its records are calls with a
// token; they name the application and the token, never the key.
func graphActivityFormat() Format {
	return Format{
		Name: "graph-activity", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "category", "properties") && strings.Contains(record, "MicrosoftGraphActivityLogs") ||
				hasMembers(record, "RequestUri", "RequestMethod", "AppId")
		},
		reader: stateless(readGraphActivity),
	}
}

type graphActivity struct {
	u                                               tallystick.Use
	time, tenant, app, principal, method, status    string
	token, signIn, user, generated, envelopeAddress string
}

func readGraphActivity(record string, sink Sink) error {
	var g graphActivity
	c := cursor{text: record}
	err := c.object(func(key string) error {
		switch key {
		case "properties":
			if c.space() == '{' {
				return c.object(func(key string) error { return g.member(&c, strings.ToLower(key)) })
			}
			return c.skip()
		case "time":
			return c.into(&g.time)
		case "callerIpAddress":
			return c.into(&g.envelopeAddress)
		case "category", "correlationId", "location", "durationMs", "resultSignature":
			return c.skip()
		}
		return g.member(&c, strings.ToLower(key))
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	return g.emit(sink)
}

// member takes a property or a column: they differ in case alone.
func (g *graphActivity) member(c *cursor, key string) error {
	switch key {
	case "timegenerated":
		return c.into(&g.generated)
	case "aadtenantid", "tenantid":
		if g.tenant == "" || key == "aadtenantid" {
			return c.into(&g.tenant)
		}
	case "appid":
		return c.into(&g.app)
	case "serviceprincipalid":
		return c.into(&g.principal)
	case "userid":
		return c.into(&g.user)
	case "requestid":
		return c.into(&g.u.IDs.Request)
	case "clientrequestid":
		return c.into(&g.u.IDs.Correlation)
	case "uniquetokenid":
		return c.into(&g.token)
	case "signinactivityid":
		return c.into(&g.signIn)
	case "ipaddress":
		return c.into(&g.u.Address)
	case "requestmethod":
		return c.into(&g.method)
	case "requesturi":
		return c.into(&g.u.Resource)
	case "responsestatuscode":
		return c.into(&g.status)
	case "useragent":
		return c.into(&g.u.Agent)
	case "sessionid":
		return c.into(&g.u.IDs.Session)
	}
	return c.skip()
}

func (g *graphActivity) emit(sink Sink) error {
	u := &g.u
	if g.time == "" {
		g.time = g.generated
	}
	at, err := readTime(g.time)
	if err != nil {
		return err
	}
	if u.IDs.Request == "" {
		return errors.New("expected the id of the request")
	}
	if isNone(g.principal) && !isNone(g.user) {
		return nil // a call for a person
	}
	u.ID, u.Source, u.Side, u.Level = u.IDs.Request, "graph", tallystick.SideRelying, tallystick.LevelCall
	u.Time, u.Until, u.Count = at, at, 1
	u.IDs.UTI = g.token
	if u.IDs.UTI == "" {
		u.IDs.UTI = g.signIn
	}
	if u.Address == "" {
		u.Address = g.envelopeAddress
	}
	u.Operation = g.method
	u.Outcome = tallystick.OutcomeSuccess
	if g.status == "401" { // the token was not taken
		u.Outcome, u.Detail = tallystick.OutcomeAttempt, g.status
	} else if g.status >= "400" {
		u.Outcome, u.Detail = tallystick.OutcomeRefused, g.status
	}
	u.Credential = []string{"account:entra-app/" + strings.ToLower(g.app)}
	u.RelyingParty = "entra:" + g.tenant + "/00000003-0000-0000-c000-000000000000" // Microsoft Graph's own id
	sink.Use(u)
	return nil
}
