-- Reads one gRPC request: HTTP/2 body, frame, protobuf, Triton's strings. Whatever is not exactly that raises a reason.

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

-- The request's fields, and the model where it must name one; raises what makes it unreadable. Envoy's objects do not
-- outlive a wait, and body and trailers wait: whatever else is needed is fetched after both.
local function read(handle, named)
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
  return request, named and one(request, 1) or nil
end
