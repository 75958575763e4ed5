-- The callers that wrk plays. `plan` is set by the lines that Python writes above this file.
-- Each thread has an interpreter of its own: `init` and `request` run there, `setup` and `done`
-- in a further one.

local function lines(name)
  local found = {}
  for line in io.lines(plan.folder .. "/" .. name) do
    found[#found + 1] = line
  end
  return found
end

local function bodies(name)
  local found = lines(name)
  for i, body in ipairs(found) do
    found[i] = "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  end
  return found
end

local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init()
  math.randomseed(plan.seed * 1000 + number)
  ids = lines("ids")
  next_id = math.random(#ids)
  sent = 0
  for i, ask in ipairs(plan.asks) do
    local head, tail = ask.path:match("^(.-){id}(.*)$")
    ask.named = head ~= nil
    ask.head = ask.method .. " " .. (head or ask.path)
    ask.tail = (tail or "") .. " HTTP/1.1\r\nHost: " .. plan.host .. "\r\n" .. ask.lines
    ask.tokens = lines((i - 1) .. ".tokens")
    ask.bodies = bodies((i - 1) .. ".bodies")
  end
end

function request()
  local ask = plan.asks[1]
  if plan.write_share > 0 and math.random() < plan.write_share then
    ask = plan.asks[2]
  end
  sent = sent + 1
  local text = ask.head
  if ask.named then
    text = text .. ids[next_id]
    next_id = next_id % #ids + 1
  end
  text = text .. ask.tail
  if #ask.tokens > 0 then
    text = text .. "Authorization: Bearer " .. ask.tokens[math.random(#ask.tokens)] .. "\r\n"
  end
  if ask.keyed then
    text = text .. "Idempotency-Key: " .. plan.run .. "-" .. number .. "-" .. sent .. "\r\n"
  end
  if #ask.bodies > 0 then
    return text .. ask.bodies[math.random(#ask.bodies)]
  end
  return text .. "\r\n"
end

-- wrk counts microseconds, and as errors of status those of 400 and above.
function done(summary, latency)
  local errors = summary.errors
  local out = assert(io.open(plan.folder .. "/result.json", "w"))
  out:write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f, '
      .. '"errors": {"status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
  out:close()
end
