package activity

import (
	"cmp"
	"net/http"
	"regexp"
	"strings"
)

// rule is what to do about one sort of refusal. The words of details are those of packages scim and auth, whose list of
// them (scim/testdata/details.golden) is read by the test of this table, so that none comes without an advice.
type rule struct {
	says   *regexp.Regexp // part of the detail; its groups are $1, $2 ... of do. nil = any
	status int            // 0 = any
	do     string
}

func when(says, do string) rule                 { return rule{regexp.MustCompile(says), 0, do} }
func answered(status int, says, do string) rule { return rule{regexp.MustCompile(says), status, do} }

const (
	// mapping is where the client says which attribute it sends as what.
	mapping = "the client's attribute mapping (Entra: Provisioning, Mappings)"
	broken  = "The client's request is not as the RFC has it, and no mapping changes that. Look for an update of the client, or report it to its maker, with the request and its answer."
	nothing = "Nothing needs to be changed: "
)

// rules are looked through in order; the first that fits counts.
var rules = []rule{
	// Who may come in.
	when(`the token has expired`, `Make a new token for $who and enter it in the client (Entra: Provisioning, Admin credentials, Secret Token): scimbox token create`),
	when(`the token is not valid on this server`, `The token was revoked, belongs to another server, or its secret was mistyped: scimbox token list shows which are in force. Make a new one with scimbox token create and enter it in the client (Entra: Provisioning, Admin credentials, Secret Token).`),
	when(`not a complete scimbox token`, `Copy the whole token into the client once more (Entra: Provisioning, Admin credentials, Secret Token), without spaces or line breaks. If it is lost, make a new one: scimbox token create`),
	when(`this is the secret of an OAuth client`, `The client sends its OAuth secret as if it were a token: choose OAuth2 Client Credentials Grant in it, with client id, secret and Token Endpoint (docs/entra.md), or give it a token: scimbox token create.`),
	when(`invalid_client: .*expired`, `Make another secret for the OAuth client, and enter it in the client (Entra: Provisioning, Admin credentials, Client Secret): scimbox client rotate`),
	when(`invalid_client`, `Client id or secret are not those of an OAuth client here: scimbox client list shows which there are. Enter both once more, or make another secret with scimbox client rotate.`),
	when(`invalid_scope`, `The OAuth client asks for more than it may do: leave the scope empty in the client, or make an OAuth client with the scope write.`),
	when(`invalid_request|unsupported_grant_type`, `The request for an access token is not as RFC 6749 section 4.4 has it: let the client use the grant type client_credentials, with its id and secret once, in Authorization or in the body.`),
	when(`plain HTTP is accepted from`, `The client has come without TLS: use the https address of the proxy as Tenant URL. If a proxy has sent it on, add its address to trusted_proxies.`),
	when(`Basic credentials are not base64`, `Enter the token as the password and any user name, and let the client do the encoding; or choose Bearer or OAuth Bearer Token in the client.`),
	when(`several Authorization headers`, `Something between client and server adds an Authorization header of its own: let the proxy pass on the client's, and only that.`),
	when(`needs a token; send the header|request is not authenticated`, `The client sends no token: enter one in it (Entra: Provisioning, Admin credentials, Secret Token). If it has one, a proxy in between takes the Authorization header away.`),
	when(`may only read`, `The client wants to change something with a token that may only read: make one with scimbox token create --scope write, and enter it in the client.`),
	when(`too many requests with a wrong token`, `Somebody at this address sends wrong tokens, again and again. If it is the client, give it a right one; it is let in again after a minute. If it is not, see who has the address.`),
	when(`this change is held and nothing of it was made`, `The guard against mass changes waits for a decision: see with scimbox activity what was to be taken away. If it is meant, scimbox guard approve lets it through, and the client does it at its next turn; if not, stop provisioning, mend its source or scope, and then scimbox guard rearm.`),
	when(`more than \d+ requests a second`, `The client sends more than it is allowed to, and is to wait as long as Retry-After says. If it is meant to be so fast, raise the limit that the answer names.`),
	when(`could not be verified in time`, nothing+`the client tries again by itself. If it comes often, the machine is too slow for what it has to do.`),
	when(`could not be verified; the server's log`, `The store could not be read: the log says why. scimbox check examines it.`),

	// What somebody has already, and what is not there.
	when(`another \S+ has the displayName`, `Two groups of this name are to be provisioned: rename one of them at its source, take one out of the scope of provisioning, or delete the one that is here and unwanted. Names may repeat with [scim] group_names = "free", but Entra and Okta then mistake one for the other.`),
	when(`another (\S+) has this (\S+) already`, `Delete or rename the $1 that has it, or give the new one another value of $2 in `+mapping+`. If they are the same person, let the client find it instead: its matching attribute should be $2.`),
	when(`names .*, and there is no .* with this id`, `A member is not here yet: put it into the scope of provisioning (Entra: Users and groups), so that it is created before the group. Or keep unknown members: [scim] unknown_members = "keep".`),
	when(`there is no (\S+) with the id`, nothing+`the client remembers a $1 that was deleted here, and creates it again at its next turn (Entra: Restart provisioning makes it forget). If nobody should have deleted it, the history of the id says who did.`),
	when(`the resource exists in version|is at version`, nothing+`somebody else has changed it in between; the client reads it again and repeats the change.`),

	// Where a request went.
	when(`SCIM is at (\S+)`, `The address in the client is wrong: Tenant URL is scheme and host of this server, and then $1 (scimbox status shows it).`),
	when(`there is no endpoint`, `The address in the client is wrong, or it asks for a type that this server does not have: compare Tenant URL with what scimbox status shows. Types of your own are defined in a schema file (docs/schemas.md).`),
	when(`the protocol version`, `The client asks for another version of SCIM: choose SCIM 2.0 in it, and the Tenant URL that scimbox status shows.`),
	when(`there is no resource type|there is no schema`, `The client asks for a type or schema that this server does not have: leave it out of the client's mapping, or define it in a schema file (docs/schemas.md).`),
	when(`is not allowed on`, `The client uses a method that has no meaning at this address: compare Tenant URL with what scimbox status shows. `+broken),
	when(`not bound to a User`, `/Me needs a token that stands for somebody: scimbox token create --user ID.`),
	when(`a filter is not permitted on`, broken),

	// The form of a message, which no mapping decides.
	when(`"op" is|"path" is|"value" is missing|"Operations"|"failOnErrors"|"method" is|"data" is|(?:^|: )it is .*; expected is an object|the body is .*; expected is|an operation without a path|the method .* is not possible|the path .* is none|does not name the message|"schemas" is missing; expected is \[`, broken),

	// Attributes that are not there, or not in this form.
	when(`(?:schema|path) (?:extension )?.* and has no values to choose from|one value and not several|has one simple value`, `The target attribute has one value, and the row in `+mapping+` chooses among several with brackets: take the brackets out of the target.`),
	when(`("[^"]*"|\S+) is no sub-attribute of ("[^"]*")`, `Remove the row whose target is $1 from `+mapping+`, correct its name, or add the sub-attribute to $2 in a custom schema (docs/schemas.md).`),
	when(`("[^"]*"|\S+) is no attribute of`, `Remove the row whose target is $1 from `+mapping+`, correct its name, or define the attribute in a custom schema (docs/schemas.md).`),
	when(`("[^"]*"|\S+) belongs to no schema of`, `Remove the row whose target is $1 from `+mapping+`, or define the extension in a custom schema (docs/schemas.md).`),
	when(`is no schema of a|"schemas"`, `The client names a schema that this server does not have, or none: define it in a custom schema (docs/schemas.md), or leave it out of the client.`),
	when(`is the schema of a .* and no attribute|is a schema extension|ends with a dot|has no sub-attributes|names a part of every value|expected is the end of|expected is the form name\.familyName|is no attribute and sub-attribute`, `The target of a row in `+mapping+` is not written as an attribute: correct it as docs/schemas.md has it, such as name.familyName or urn:...:User:department.`),
	when(`a value path has no meaning in a resource`, `The client sends a path such as emails[type eq "work"].value as the name of an attribute in a new resource: set the token's preset to the client's name, or correct the target in `+mapping+`.`),
	when(`("[^"]*"|\S+) is required and has no value|the schema extension ("[^"]*") is required of a`, `The required attribute $1$2 is empty at the source: fill it in there, or give its row in `+mapping+` a default value. If it has no row, add one.`),
	when(`is required and cannot be removed|schemas is required`, `The client empties an attribute that must have a value: give its row in `+mapping+` a default value, or do not map it from a source that can be empty.`),
	when(`("[^"]*"|\S+) is readOnly|the attribute is readOnly`, `The server sets this attribute by itself: remove its row from `+mapping+`.`),
	when(`is (?:immutable|.* and has a value already)|is immutable`, `The attribute cannot be changed once it has a value: let its row in `+mapping+` apply only when a resource is created (Entra: Apply this mapping, Only during object creation).`),
	when(`keeps no passwords`, `Remove the row of the password from `+mapping+`, or let this server keep hashes: [scim] password = "hash".`),
	when(`primary value`, `Two values are marked as primary: let only one row of the attribute in `+mapping+` set primary to true.`),
	when(`is no dateTime`, `The source gives a date in another form: use a function in `+mapping+` (Entra: FormatDateTime with yyyy-MM-ddTHH:mm:ssZ).`),
	when(`is not base64`, `The attribute is binary: the source has to give base64. Use a function in `+mapping+`, or map another attribute.`),
	when(`no value of .* matches|has no values, and a path without`, `The client changes a value that is not there, such as the work address of somebody who has none: let it add the value (Entra: Restart provisioning for the user), or set the token's preset to the client's name.`),
	when(`cannot be an id of|has no "value"; expected is the id`, broken),
	when(`are both given`, broken),

	// Queries.
	when(`would examine more than .* filter by an indexed attribute \(([^)]*)\)`, `Choose an indexed attribute as matching attribute in `+mapping+` ($1), index another one in a custom schema (docs/schemas.md), or raise [scim] max_scan.`),
	when(`would compare too many values|too many to sort by|the page would have more than`, `The client asks for more than this server makes at once: let it ask for fewer resources (a smaller page, a filter by userName, externalId or id), or for fewer attributes.`),
	when(`is never shown`, `The client asks about an attribute that nobody may see: choose another matching attribute in `+mapping+`.`),
	when(`is compared with|compares text|which has no|can only be asked for by pr|null has no order|simple values, which are called|in brackets|in the brackets|behind the attribute|inside of brackets|brackets inside|is one value of each`, `The filter compares an attribute with something that it cannot be: choose another matching attribute in `+mapping+`, one that has texts.`),
	when(`sortBy|sortOrder|startIndex|count is`, broken),
	when(`the place in the list cannot be read|that refers to others`, `The address that was opened is not one that this server has made: begin at the first page of the list.`),
	when(`cursor`, nothing+`the client starts its list again from the beginning. If it comes often, raise [scim] cursor_timeout.`),
	when(`is given more than once|badly encoded|no UTF-8`, broken),
	when(`the filter is empty|is no operator|expected is an operator|a blank and a value|a blank and an operator|expected is "and" or "or"|expected is a name|comparisons|nested deeper|a control character|an escape in the string|does not end|double quotes|name of a sub-attribute|only paths of PATCH go on|bytes, more than|that closes byte|found`, `The client's filter cannot be read. If a name with a quotation mark or a backslash is in it, the client does not escape it: rename at the source. Otherwise report it to the maker of the client.`),

	// The form of a body.
	when(`would look at more than .* values of what they change`, `The client changes more at once than this server takes: let it send fewer operations in one request, and name the members of a group by their ids.`),
	when(`larger than|too large for one transaction|more than maxOperations`, `The client sends more at once than this server takes: let it send less (smaller groups of changes), or raise [limits] body, bulk_body or bulk_operations.`),
	when(`bulkId|bulk`, broken),
	when(`Content-Type|Content-Encoding|charset`, `The client, or a proxy in between, sends the body in a form that SCIM does not have: expected is application/scim+json, in UTF-8 and not compressed.`),
	when(`no valid JSON|ends in the middle|goes on after|has no body|could not be read to its end|stands twice in one object`, `The body did not arrive as JSON: look for a proxy that cuts or changes it. If there is none: `+broken),
	when(`has a value of another type; expected is (.*)$|is (?:.*); expected is (.*)$`, `The source gives a value of another type than the target takes ($1$2): choose another source attribute, or use a function in `+mapping+` that makes one.`),

	// This server.
	when(`it is not known whether the change was made|cannot be shown; read`, nothing+`the client asks again and finds out. The log says what happened to the store.`),
	when(`takes no changes at the moment|disk`, `The server takes no changes until there is room on its disk, or an operator lets it: scimbox status and the log say why. The client repeats what it wanted by itself.`),
	when(`was ended before it was done`, nothing+`the server was stopped, or the request took too long; the client repeats it by itself. If it comes often, raise [limits] request_timeout.`),
	when(`internal error`, `This is a failure of scimbox and not of the client: look for the request's id in the log, and report what is there.`),

	// By the status alone.
	answered(http.StatusUnauthorized, ``, `Give the client a token that is in force: scimbox token create.`),
	answered(http.StatusForbidden, ``, `The token may not do this: see its scope with scimbox token list.`),
	answered(http.StatusNotFound, ``, `Compare the client's Tenant URL with what scimbox status shows.`),
	answered(http.StatusTooManyRequests, ``, nothing+`the client waits and repeats it by itself.`),
	answered(http.StatusServiceUnavailable, ``, nothing+`the client repeats it by itself. scimbox status and the log say what holds it up.`),
}

var unused = regexp.MustCompile(`\s*\(\)`)

// advise says what to change after a refusal.
func advise(e *Entry, who Who) string {
	advice, _ := adviceFor(e.Status, e.Detail)
	name := cmp.Or(who.Name, e.TokenName)
	if name == "" {
		name = "the client"
	}
	return strings.ReplaceAll(advice, "$who", name)
}

// adviceFor returns the advice of the first rule that fits; sure is false if nothing but the status was known.
func adviceFor(status int, detail string) (advice string, sure bool) {
	for _, r := range rules {
		if r.status != 0 && r.status != status {
			continue
		}
		at := r.says.FindStringSubmatchIndex(detail)
		if at == nil {
			continue
		}
		do := strings.ReplaceAll(r.do, "$who", "\x00")
		text := string(r.says.ExpandString(nil, do, detail, at))
		return strings.ReplaceAll(unused.ReplaceAllString(text, ""), "\x00", "$who"), r.status == 0
	}
	return "Compare the request with what the answer says; docs/entra.md and docs/clients tell what clients are to be set to.", false
}
