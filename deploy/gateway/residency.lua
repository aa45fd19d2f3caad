-- Where a request may be answered, decided from its content and its token. Reads the protobuf as the sites will, and
-- accepts for the public site only what it knows to the last byte: whatever is unknown stays private.
-- BURSTABLE, INPUTS, FILTERS, HEADERS, CLAIM and LARGEST come before this text, made from the contract.

local INFER = "/inference.GRPCInferenceService/ModelInfer"

local function varint(text, at)
  local value, scale = 0, 1
  for index = at, at + 6 do -- 49 bits: a Lua number holds them exactly
    local byte = text:byte(index)
    if not byte then break end
    value, scale = value + byte % 128 * scale, scale * 128
    if byte < 128 then
      return value, index + 1
    end
  end
  error("not protobuf", 0)
end

-- The fields of a message: number -> its values in order; a number for a varint, a string for the rest
local function message(text)
  local found, at = {}, 1
  while at <= #text do
    local tag, value
    tag, at = varint(text, at)
    value, at = varint(text, at)
    if tag % 8 == 2 then
      local past = at + value
      if past > #text + 1 then error("not protobuf", 0) end
      value, at = text:sub(at, past - 1), past
    elseif tag % 8 ~= 0 then
      error("a field type that no search has", 0)
    end
    local number = math.floor(tag / 8)
    found[number] = found[number] or {}
    table.insert(found[number], value)
  end
  return found
end

local function one(found, number)
  local values = found[number]
  if not values or #values ~= 1 or type(values[1]) ~= "string" then error("a field that must come once", 0) end
  return values[1]
end

local function knows(found, numbers, reason)
  for number in pairs(found) do
    if not numbers[number] then error(reason, 0) end
  end
end

local function strings(values)
  for _, value in ipairs(values or {}) do
    if type(value) ~= "string" then error("a field of the wrong type", 0) end
  end
  return values or {}
end

-- The only element of a BYTES tensor
local function element(raw)
  local a, b, c, d = raw:byte(1, 4)
  if not d or ((d * 256 + c) * 256 + b) * 256 + a ~= #raw - 4 then error("not one string", 0) end
  return raw:sub(5)
end

local function check_filters(json)
  if json:gsub("\\u%x%x%x%x", ""):find("\\", 1, true) then error("filters with escapes", 0) end
  for text, colon in json:gmatch('"([^"]*)"%s*(:?)') do
    if colon == ":" and not FILTERS[text] then error("unknown filters", 0) end
  end
end

local CHECKS = {
  query = element,
  user = function(raw)
    if raw ~= "\0\0\0\0" then error("a user", 0) end
  end,
  filters = function(raw)
    check_filters(element(raw))
  end,
  k = function(raw)
    if #raw ~= 4 then error("not one number", 0) end
  end,
  with_payload = function(raw)
    if #raw ~= 1 then error("not one truth value", 0) end
  end,
}

local function check_inputs(request)
  local inputs, raws, seen = strings(request[5]), strings(request[7]), {}
  if #inputs ~= #raws then error("tensors without raw content", 0) end
  for index, text in ipairs(inputs) do
    local input = message(text)
    knows(input, { true, true, true }, "a tensor with parameters or contents")
    local name = one(input, 1)
    if not INPUTS[name] then error("an unknown tensor", 0) end
    if seen[name] then error("a tensor twice", 0) end
    if one(input, 2) ~= INPUTS[name] or one(input, 3) ~= "\1\1" then error("a tensor of another type or shape", 0) end
    seen[name] = true
    CHECKS[name](raws[index])
  end
end

local function check_parameters(request)
  for _, text in ipairs(strings(request[4])) do
    local entry = message(text)
    knows(entry, { true, true }, "an unknown parameter")
    local value = message(one(entry, 2))
    knows(value, { [2] = true }, "an unknown parameter")
    if one(entry, 1) ~= "timeout" or #(value[2] or {}) ~= 1 or type(value[2][1]) ~= "number" then
      error("an unknown parameter", 0)
    end
  end
end

-- Raises the reason why a request must stay private
local function check(request, model, claim)
  if not BURSTABLE[model] then error("a personal model", 0) end
  if claim ~= CLAIM then error("the token", 0) end
  knows(request, { true, true, true, true, true, true, true }, "an unknown field")
  for _, version in ipairs(strings(request[2])) do
    if version:find("%D") then error("an unknown version", 0) end
  end
  for _, id in ipairs(strings(request[3])) do
    if #id > 128 then error("a long id", 0) end
  end
  for _, output in ipairs(strings(request[6])) do
    knows(message(output), { true }, "an output with parameters")
  end
  check_parameters(request)
  check_inputs(request)
end

-- The request's fields and model; raises what makes it unreadable. Envoy's objects do not outlive a wait, and body and
-- trailers wait: whatever else is needed is fetched after both.
local function read(handle)
  local body = handle:body()
  local size = body and body:length() or 0
  if size > LARGEST then error("it is too large", 0) end
  local frame = size > 0 and body:getBytes(0, size) or ""
  if handle:trailers() then error("it has trailers", 0) end
  local headers = handle:headers()
  if headers:getNumValues("content-type") ~= 1 or headers:get("content-type") ~= "application/grpc" then
    error("it has another content-type", 0)
  end
  if (headers:get("grpc-encoding") or "identity") ~= "identity" then error("it is compressed", 0) end
  if size < 5 then error("it is empty", 0) end
  local flag, a, b, c, d = frame:byte(1, 5)
  if flag ~= 0 then error("it is compressed", 0) end
  if ((a * 256 + b) * 256 + c) * 256 + d ~= size - 5 then error("it is not exactly one message", 0) end
  local request = message(frame:sub(6))
  return request, one(request, 1)
end

local function narrow(headers)
  local foreign = {}
  for name in pairs(headers) do
    if name:sub(1, 1) ~= ":" and not HEADERS[name] then table.insert(foreign, name) end
  end
  for _, name in ipairs(foreign) do
    headers:remove(name)
  end
end

local function refuse(handle, reason)
  handle:respond({
    [":status"] = "200",
    ["content-type"] = "application/grpc",
    ["grpc-status"] = "3",
    ["grpc-message"] = "the gateway cannot read this request: " .. reason .. "; send one plain message",
  }, "")
end

function envoy_on_request(handle)
  if handle:headers():get(":path") == INFER then
    local readable, request, model = pcall(read, handle)
    local metadata = handle:streamInfo():dynamicMetadata()
    if not readable then
      metadata:set("shelfbridge", "decision", "refused")
      metadata:set("shelfbridge", "reason", request)
      return refuse(handle, request)
    end
    local token = (metadata:get("envoy.filters.http.jwt_authn") or {})["jwt_payload"] or {}
    local burstable, reason = pcall(check, request, model, token["residency"])
    metadata:set("shelfbridge", "model", model)
    metadata:set("shelfbridge", "decision", burstable and "burstable" or "private")
    metadata:set("shelfbridge", "reason", burstable and "anonymous search" or reason)
    handle:clearRouteCache()
  end
  narrow(handle:headers())
end
