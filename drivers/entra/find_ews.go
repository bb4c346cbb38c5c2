// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// An ewsPolicy says which applications may still use EWS in a tenant ("Control access to EWS in
// Exchange Online"): where it is enabled those of the list, where it is disabled none, and where
// neither is set Exchange decides.
type ewsPolicy struct {
	Enabled *bool           `json:"EwsEnabled"`
	Listed  json.RawMessage `json:"EwsAllowedAppIDs"` // a text with commas, or a list
	allowed []string
}

// ewsGrants are the permissions that open EWS.
var ewsGrants = [...]string{"full_access_as_app", "EWS.AccessAsUser.All"}

// ewsPlace is what stands behind a tenant where it could not be read.
const ewsPlace = "/ewsAllowedAppIDs"

// exchangePolicy reads it. Exchange tells it to its PowerShell module, and in no documented way of REST.
func (e *Entra) exchangePolicy(ctx context.Context, l *survey) error {
	if !e.EWS {
		return nil
	}
	var answer struct {
		Value []ewsPolicy `json:"value"`
	}
	err := l.at(e.exchange, e.ExchangeScope).send(ctx, http.MethodPost, "/adminapi/beta/"+l.tenant+"/InvokeCommand", map[string]any{"CmdletInput": map[string]any{
		"CmdletName": "Get-OrganizationConfig", "Parameters": map[string]any{"RetrieveEwsOperationAccessPolicy": true},
	}}, &answer)
	if err != nil {
		return fmt.Errorf("couldn't read which applications may use EWS: %w", err)
	}
	if len(answer.Value) != 1 {
		return fmt.Errorf("%w: Exchange tells %d configurations of a tenant", tallystick.ErrUnavailable, len(answer.Value))
	}
	l.ews = &answer.Value[0]
	var list []string
	if json.Unmarshal(l.ews.Listed, &list) != nil {
		var text string
		if json.Unmarshal(l.ews.Listed, &text) == nil {
			list = []string{text}
		}
	}
	for _, id := range strings.FieldsFunc(strings.Join(list, ","), func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		l.ews.allowed = append(l.ews.allowed, strings.ToLower(id))
	}
	return nil
}

// judge says of the grants of an application what EWS makes of them.
func (p *ewsPolicy) judge(application string, grants []tallystick.Grant) {
	if p == nil || p.Enabled == nil {
		return
	}
	words := "; EWS is blocked for it in this tenant"
	if *p.Enabled && slices.Contains(p.allowed, strings.ToLower(application)) {
		words = "; it is on the list of those that may use EWS"
	}
	for i := range grants {
		if slices.Contains(ewsGrants[:], grants[i].Name) {
			grants[i].Opens += words
		}
	}
}
