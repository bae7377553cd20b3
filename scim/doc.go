// Package scim is the SCIM 2.0 protocol: RFC 7643 (schemas), RFC 7644 (protocol) and RFC 9865 (cursors). It translates
// between resources and attributes on the wire and records, terms and links in package storage, and asks nothing of the
// rest of the house but a Caller in the context of each request.
//
// What a schema is, and what a resource is made of:
//
//	schema.go      Schema, Attribute, ResourceType, characteristics          RFC 7643 sections 2, 6, 7
//	load.go  loadattr.go  located.go   schemas from JSON, with the line at fault
//	value.go       Value and Object: one state for absent, null and []       RFC 7643 section 2.5
//	resource.go    Resource
//	validate.go    the table of characteristic and verb; required            RFC 7643 section 7
//
// What a client writes, and what is answered:
//
//	node.go  parse.go      JSON as it was sent                               RFC 7644 section 3.8
//	decode.go  encode.go   JSON to values and back, by the schema
//	patch.go  edit.go      PATCH: bound first, then applied                  RFC 7644 section 3.5.2
//	quirks.go      deviations of named clients, and presets of them
//	project.go     attributes, excludedAttributes, returned                  RFC 7644 section 3.9
//	discovery.go   /ServiceProviderConfig, /ResourceTypes, /Schemas          RFC 7644 section 4
//	errors.go      Error                                                     RFC 7644 section 3.12
//
// How resources are found:
//
//	filter.go      the grammar, without a schema                             RFC 7644 section 3.4.2.2
//	path.go        attribute notation and PATCH paths                        RFC 7644 sections 3.10, 3.5.2
//	match.go       a filter with names and types: the only truth
//	fold.go        what is the same, and what comes first                    RFC 7644 section 5
//	work.go        how much of all that one request may ask for
//	plan.go  query.go      which index may know; filters, sorting, paging    RFC 7644 section 3.4.2
//	page.go                the list that is answered, and what answers are put together in
//	scan.go                filters that no index helps with
//	list.go        what a person looks at: lists searched as one types, one resource with its links
//	limit.go               callers who may see a part of the attributes
//	walk.go  cursor.go     pages that cost no more the deeper they are       RFC 9865
//
// What is done with them:
//
//	record.go      resources to records: bodies and terms
//	stored.go  show.go     bodies that are read without being decoded
//	partly.go      what a PATCH leaves alone stays as it is stored
//	reindex.go     terms anew, where the rules for them have changed
//	members.go     linked and derived attributes: members, groups, manager
//	secret.go      passwords                                                 RFC 7643 section 9.2
//	service.go     create, get, replace, patch, delete: one transaction each, without HTTP
//	change.go      what the journal says of a change
//	condition.go   If-Match and If-None-Match                                RFC 7644 section 3.14
//	bulk.go        bulk requests                                             RFC 7644 section 3.7
//	handler.go  search.go  HTTP; queries by GET and by POST                  RFC 7644 sections 3.2, 3.4
//	options.go     what an operator decides, and who is calling
package scim
